import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import test from "node:test";
import { fileURLToPath } from "node:url";
import * as module from "../src/index.js";

const home = fileURLToPath(new URL("..", import.meta.url));
const read = (path) => readFileSync(`${home}/${path}`, "utf8");
const declarations = read("src/index.d.ts");

/** Names of members in the declaration of a class or an interface. */
function declared(kind, name) {
  const [, extended = "", body] = declarations.match(
    new RegExp(`export ${kind} ${name}(?: extends (\\w+))? \\{\\n(.*?)\\n\\}`, "s"),
  );
  const own = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(<?:]/gm)].map(([, name]) => name);
  return kind === "interface" && extended ? [...declared(kind, extended), ...own] : own;
}

/** Names that a program can use of an object: also inherited ones, but for what every object has. */
function usable(object) {
  const names = new Set();
  for (let at = object; ![Object.prototype, Error.prototype].includes(at); at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) names.add(name);
  }
  return [...names];
}

const client = new module.ReachabilityClient("https://host");
const sorted = (names) => [...new Set(names)].sort();

test("the declared classes are the exported ones", () => {
  const classes = [...declarations.matchAll(/^export declare class (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(classes.sort(), Object.keys(module).sort());
});

test("each declared member is there, and no other", () => {
  assert.deepEqual(sorted(declared("declare class", "ReachabilityClient")), sorted(usable(client)));
  const error = new module.ReachabilityError("timeout", "late");
  const ofEveryError = ["message", "stack"];
  assert.deepEqual(sorted([...declared("declare class", "ReachabilityError"), ...ofEveryError]), sorted(usable(error)));
  const channel = client.channel("messaging", "general");
  assert.deepEqual(sorted([...declared("interface", "Channel"), "constructor"]), sorted(usable(channel)));
});

test("each declared event is one that can be heard", () => {
  const [, body] = declarations.match(/export interface Events \{\n(.*?)\n\}/s);
  const types = [...body.matchAll(/^ {2}"?([\w.]+)"?:/gm)].map(([, type]) => type);
  assert.equal(types.length, 8);
  for (const type of types) client.on(type, () => {}).unsubscribe();
});

test("the README names each event and each error of the client", () => {
  const readme = read("README.md");
  const sources = readdirSync(`${home}/src`)
    .filter((path) => path.endsWith(".js"))
    .map((path) => read(`src/${path}`));
  const codes = sources.flatMap((text) => [...text.matchAll(/ReachabilityError\(\s*"(\w+)"|\[\d{4}, \["(\w+)"/g)]);
  const types = [
    ...sources
      .join()
      .match(/TYPES = new Set\(\[(.*?)\]/s)[1]
      .matchAll(/"([\w.]+)"/g),
  ];
  assert.ok(codes.length > 20 && types.length === 8);
  for (const [, code, other] of [...codes, ...types]) assert.ok(readme.includes(`\`${code ?? other}\``), code ?? other);
});

const require = createRequire(import.meta.url);
const tsc = (() => {
  try {
    return require.resolve("typescript/bin/tsc");
  } catch {
    return null;
  }
})();

test("what an app writes has these types", { skip: tsc === null && "npm install brings the compiler" }, () => {
  const run = () => execFileSync(process.execPath, [tsc, "--project", `${home}/tests`], { encoding: "utf8" });
  assert.doesNotThrow(run);
});

test("the package has all that it names, and no more", () => {
  const options = {
    cwd: home,
    encoding: "utf8",
    env: { ...process.env, NODE_OPTIONS: "", npm_config_update_notifier: "false" },
  };
  const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], options));
  const paths = files.map(({ path }) => path);
  const manifest = JSON.parse(read("package.json"));
  assert.equal(manifest.dependencies, undefined);
  for (const path of [manifest.types, manifest.exports["."].types, manifest.exports["."].default]) {
    assert.ok(paths.includes(path.replace("./", "")), path);
  }
  assert.deepEqual(paths.filter((path) => !path.startsWith("src/")).sort(), [
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "package.json",
  ]);
  // Every import of a source is in the package.
  for (const path of paths.filter((path) => path.endsWith(".js"))) {
    for (const [, name] of read(path).matchAll(/from "\.\/([\w.]+)"/g))
      assert.ok(paths.includes(`src/${name}`), `${path}: ${name}`);
    assert.ok(!/from "[^.]/.test(read(path)), `${path} imports a package`);
  }
  for (const path of ["LICENSE-APACHE", "LICENSE-MIT"])
    if (existsSync(`${home}/../../${path}`)) assert.equal(read(path), read(`../../${path}`));
});

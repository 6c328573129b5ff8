// Serves the examples to browsers of this machine, since a page of a file may not import modules:
//
//     node presence/serve.mjs [PORT]

import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const root = new URL("../..", import.meta.url);
// Nothing else of what is beside them, such as the server's data.
const served = /^\/(examples|clients\/js\/src)\/(?!.*\.\.)[^\\%#]+$/;
const types = { html: "text/html", js: "text/javascript", mjs: "text/javascript" };

const server = createServer((request, response) => {
  const [path] = request.url.split("?");
  const type = types[path.split(".").at(-1)];
  const missing = () => response.writeHead(404).end();
  if (!type || !served.test(path)) return missing();
  const file = createReadStream(fileURLToPath(new URL(`.${path}`, root)));
  file.on("error", missing);
  file.on("open", () => {
    response.setHeader("Content-Type", `${type}; charset=utf-8`);
    file.pipe(response);
  });
});
server.listen(Number(process.argv[2] ?? 8081), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/examples/presence/index.html`);
});

// What the client does when servers die, networks freeze, and tokens expire: by the client as it is published.

const PATIENCE_MS = 60_000;

async function until(what, isSo) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`${what}, but in vain`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/**
 * `owner(command)` has the server's owner do something, and resolves with the answer: `kill` the server; `start` it again, after
 * which john's status is "Missed"; `freeze` and `thaw` the network; `online USER`, `status USER TEXT`, `token USER SECONDS`.
 */
export async function play({ ReachabilityClient, url, tokens, owner, passed }) {
  const equal = (what, actual, expected) => {
    const [is, mustBe] = [actual, expected].map((value) => JSON.stringify(value));
    if (is !== mustBe) throw new Error(`${what}: ${is} instead of ${mustBe}`);
    passed(what);
  };
  const connect = async (id, token = tokens[id], options) => {
    const client = new ReachabilityClient(url, options);
    await client.connectUser({ id }, token);
    return client;
  };
  const isConnected = ({ state }) => state === "connected";
  const listen = (client) => {
    const heard = [];
    client.on("user.presence.changed", ({ user, at }) => heard.push([user.id, user.online, user.status, at !== null]));
    client.on("connection.changed", ({ state, reason }) => heard.push([state, reason?.code ?? null]));
    return heard;
  };
  const hears = async (what, heard, ...expected) => {
    await until(what, () => heard.length >= expected.length);
    equal(what, heard.splice(0), expected);
  };

  // A server that is killed.
  const [john, jack] = [await connect("john"), await connect("jack")];
  const jane = await connect("jane");
  await jane.queryUsers({ id: { $in: ["john", "jack"] } }, {}, { presence: true });
  const heard = listen(jane);
  await owner("kill");
  await until("the connection is lost", () => !isConnected(jane));
  const stale = () => ["john", "jack"].map((id) => [jane.users.get(id).stale, jane.users.get(id).online]);
  equal("they are as they were when last heard of", stale(), [[true, true], [true, true]]);
  await owner("start");
  await until("all are back", () => [jane, john, jack].every(isConnected));
  equal("they are fresh", stale(), [[false, true], [false, true]]);
  const missed = [["connecting", "connection_lost"], ["john", true, "Missed", false], ["connected", null]];
  await hears("nobody flickers, and what was missed is told before all is well", heard, ...missed);
  await jack.setUser({ status: "Back" });
  await hears("the watches are restored", heard, ["jack", true, "Back", true]);

  // A network that is frozen: neither end is told.
  await owner("freeze");
  await until("the client notices", () => !isConnected(jane));
  await until("the server notices", async () => (await owner("online jane")) === "false");
  await owner("status john Thawed");
  await owner("thaw");
  await until("all are back", () => [jane, john, jack].every(isConnected));
  await until("jane is online", async () => (await owner("online jane")) === "true");
  equal("she knows why she was away", heard[0], ["connecting", "connection_lost"]);
  await until("jane knows what she missed", () => {
    const { online, status, stale } = jane.users.get("john");
    return online && status === "Thawed" && !stale;
  });
  await until("and of jack", () => jane.users.get("jack").online);
  const isOrdered = heard.findIndex(([state]) => state === "connected") > 0;
  equal("she was told before all was well", isOrdered, true);
  heard.splice(0);

  // Tokens that expire.
  const provider = (...lives) => {
    const fetch = async () => {
      const [id, seconds] = lives[Math.min(fetch.asked, lives.length - 1)];
      fetch.asked += 1;
      return owner(`token ${id} ${seconds}`);
    };
    fetch.asked = 0;
    return fetch;
  };
  const [renewing, bad] = [provider(["joe", 6], ["joe", 3_600]), provider(["john", 6], ["jack", 3_600], ["john", 3_600])];
  const joe = await connect("joe", renewing);
  const ofJoe = listen(joe);
  const second = await connect("john", bad);
  const errors = [];
  second.on("error", ({ error }) => errors.push(error.code));
  const fixed = await connect("jack", await owner("token jack 6"));
  const ofFixed = listen(fixed);
  await until("a token expires", () => fixed.state === "disconnected");
  equal("there is no other", ofFixed, [["disconnected", "invalid_token"]]);
  equal("a renewed one goes on", [joe.state, ofJoe, renewing.asked], ["connected", [], 2]);
  equal("one of somebody else is refused, and the next is taken", errors[0], "invalid_token");
  await until("john has a good one", () => isConnected(second) && bad.asked >= 3);

  // One of two tabs is closed.
  heard.splice(0);
  await second.setUser({ status: "In two tabs" });
  await hears("it is told once", heard, ["john", true, "In two tabs", true]);
  await second.disconnectUser();
  await john.setUser({ status: "In one tab" });
  await hears("john is still there", heard, ["john", true, "In one tab", true]);
  await john.disconnectUser();
  await hears("with the last tab he is gone", heard, ["john", false, "In one tab", true]);
  for (const client of [jane, jack, joe]) await client.disconnectUser();
}

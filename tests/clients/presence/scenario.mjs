// What the presence of users is for, as one story: by the client as it is published, of which nothing is changed. It runs in
// Node and in a browser's page.

const PATIENCE_MS = 30_000;

async function until(what, isSo) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error(`${what}, but in vain`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/**
 * `tokens`: by user. `owner(command)`: has the server's owner `stop` it, and `start` it again; before clients can connect, the
 * owner then sets john's status to "Missed". `passed(what)` is called for each check.
 */
export async function play({ ReachabilityClient, url, tokens, owner, passed }) {
  const equal = (what, actual, expected) => {
    const [is, mustBe] = [actual, expected].map((value) => JSON.stringify(value));
    if (is !== mustBe) throw new Error(`${what}: ${is} instead of ${mustBe}`);
    passed(what);
  };
  const [client, john, jack, joe] = Array.from({ length: 4 }, () => new ReachabilityClient(url));
  const ids = (users) => users.map(({ id }) => id).sort();
  const heard = [];
  const listen = () =>
    client.on("user.presence.changed", ({ user }) => heard.push([user.id, user.online, user.status]));
  /** These are heard, each once, and nothing else. */
  const hears = async (what, ...expected) => {
    await until(what, () => heard.length >= expected.length);
    equal(what, heard.splice(0), expected);
  };

  const me = await client.setUser({ id: "jane", invisible: true, status: "Eating a veggie burger..." }, tokens.jane);
  equal("an invisible user sees itself", [me.online, me.invisible, me.status], [true, true, "Eating a veggie burger..."]);
  const subscription = listen();

  // The three ways to watch.
  const channel = client.channel("messaging", "general", { members: ["john", "jack"], color: "green" });
  const { members, created } = await channel.watch({ presence: true });
  equal("a channel's members are watched", [created, ids(members)], [true, ["jack", "jane", "john"]]);
  const channels = await client.queryChannels({ color: "green" }, { last_message_at: -1 }, { presence: true });
  equal("the members of channels are watched", [ids(channels), ids(channels[0].members)], [["general"], ids(members)]);
  const users = await client.queryUsers({ id: { $in: ["john", "jack"] } }, { id: 1 }, { presence: true });
  const shown = users.map(({ id, online, status, last_active }) => [id, online, status, last_active]);
  equal("users are watched", shown, [["jack", null, null, null], ["john", null, null, null]]);

  // Each change is heard once, though three watches have them.
  await john.connectUser({ id: "john" }, tokens.john);
  await hears("john comes", ["john", true, null]);
  equal("it is known when", typeof client.users.get("john").last_active, "string");
  await john.setUser({ status: "Here" });
  await hears("john says what he does", ["john", true, "Here"]);
  await joe.connectUser({ id: "joe", status: "Not in the team" }, tokens.joe);
  await jack.connectUser({ id: "jack", status: "At work" }, tokens.jack);
  await hears("jack comes, and says at once what he does; joe is nobody's business", ["jack", true, "At work"]);
  await john.setUser({ invisible: true });
  await hears("john becomes invisible", ["john", false, "Here"]);
  await john.setUser({ status: "Secret" });
  await john.disconnectUser();
  await joe.disconnectUser();
  await jack.disconnectUser();
  await hears("jack goes, and john had gone", ["jack", false, "At work"]);
  await john.connectUser({ id: "john" }, tokens.john);
  equal("john is invisible still", [john.user.online, john.user.invisible], [true, true]);
  await jack.connectUser({ id: "jack", invisible: false, status: "Back at work" }, tokens.jack);
  await hears("only jack is back", ["jack", true, "Back at work"]);
  await john.setUser({ invisible: false });
  await hears("john is back too", ["john", true, "Secret"]);

  // This client's own user.
  const [seen] = await john.queryUsers({ id: { $eq: "jane" } }, {}, { presence: true });
  equal("an invisible user is seen by nobody", [seen.online, seen.status, "invisible" in seen], [null, null, false]);
  await client.setUser({ invisible: false });
  await until("john sees jane", () => seen.online);
  equal("with her status", seen.status, "Eating a veggie burger...");
  await hears("she watches herself, as a member", ["jane", true, "Eating a veggie burger..."]);

  const online = await client.queryUsers({ online: true }, { id: -1 }, { limit: 1 });
  equal("a query is answered in pages, from an index", [ids(online), online.index], [["john"], "online"]);
  const next = await client.queryUsers({ online: true }, { id: -1 }, { limit: 2, cursor: online.cursor });
  equal("the next page is the rest", [ids(next), next.cursor], [["jack", "jane"], null]);
  const tooMany = await client.queryUsers({}, {}, { limit: 1_001, presence: true }).catch((error) => error);
  equal("a watch has so many users", [tooMany.code, tooMany.limit], ["too_many_users", 1_000]);

  // Who joins a watched channel is watched from then on, until leaving it.
  const moved = [];
  channel.on("member.added", ({ user }) => moved.push(["added", user.id]));
  channel.on("member.removed", ({ id }) => moved.push(["removed", id]));
  await channel.addMembers(["joe"]);
  await until("joe is a member", () => moved.length > 0);
  await joe.connectUser({ id: "joe" }, tokens.joe);
  await hears("joe comes", ["joe", true, "Not in the team"]);
  await channel.removeMembers(["joe"]);
  await until("joe is no member", () => moved.length > 1);
  await joe.disconnectUser();
  equal("members come and go", moved, [["added", "joe"], ["removed", "joe"]]);
  equal("as the channel says", ids(channel.members), ids(members));

  await jack.setUser({ status: "Lunch" });
  await hears("jack is at lunch", ["jack", true, "Lunch"]);
  subscription.unsubscribe();
  await jack.setUser({ status: "At work" });
  await until("it is known without a listener", () => client.users.get("jack").status === "At work");
  equal("a listener that is gone hears nothing", heard, []);

  // The server is restarted.
  listen();
  const states = [];
  client.on("connection.changed", ({ state }) => states.push(state));
  const stale = () => ["john", "jack", "jane"].filter((id) => client.users.get(id).stale);
  const isConnected = (one) => one.state === "connected";
  await owner("stop");
  await until("the connection is lost", () => !isConnected(client));
  equal("the others are stale", stale(), ["john", "jack"]);
  await owner("start");
  await until("all are back", () => [client, john, jack].every(isConnected));
  equal("nobody is stale", stale(), []);
  equal("it was away once", states, ["connecting", "connected"]);
  await hears("what was missed", ["john", true, "Missed"]);
  await jack.setUser({ status: "Back" });
  await hears("the watches are restored", ["jack", true, "Back"]);

  for (const watched of [users, channels, channel]) await watched.stopWatching();
  equal("nobody is watched", [...client.users.keys()], ["jane"]);
  await jack.disconnectUser();
  await john.disconnectUser();
  // Whatever the server had to tell, it tells before this.
  await client.setUser({ status: null });
  equal("nothing is heard", heard, []);
  await client.disconnectUser();
}

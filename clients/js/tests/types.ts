// Compiled, and never run: what an app writes has these types, and what it must not write is an error.

import { ReachabilityClient, ReachabilityError } from "reachability-client";
import type {
  Channel,
  ChannelState,
  Events,
  Filter,
  OwnUser,
  QueryResult,
  Subscription,
  User,
} from "reachability-client";

const client = new ReachabilityClient("https://host", { timeout: 5_000, device: "laptop" });

export async function snippets(): Promise<void> {
  const me: OwnUser = await client.connectUser({ id: "me" }, async () => "token");
  await client.setUser({ id: "me", invisible: true, status: "Eating" });
  await client.setUser({ status: null });
  const general: Channel = client.channel("messaging", "general", { members: ["john", "jack"], color: "green" });
  const state: ChannelState = await general.watch({ presence: true });
  const filter: Filter = { $and: [{ members: { $in: ["john"] } }, { color: "green" }, { $nor: [{ archived: true }] }] };
  const channels: QueryResult<Channel> = await client.queryChannels(filter, [{ last_message_at: -1 }], {
    presence: true,
  });
  const users = await client.queryUsers({ id: { $in: ["john", "jack"] } }, { id: 1 }, { presence: true, limit: 10 });
  const next = await client.queryUsers({ name: { $autocomplete: "jo" } }, undefined, { cursor: users.cursor });
  const texts: string[] = [
    me.id,
    ...users.map((user) => user.id),
    ...state.members.map(({ id }) => id),
    ...channels.map(({ cid }) => cid),
  ];
  const known: User | undefined = client.users.get(texts[0] ?? "");
  const subscription: Subscription = client.on("user.presence.changed", ({ user, at }) => {
    const online: boolean | null = user.online;
    const time: string | null = at;
    return [online, time, user.stale];
  });
  general.on("member.removed", ({ cid, id }: Events["member.removed"]) => [cid.length, id.length]);
  client.on("connection.changed", ({ state, reason }) => state === "connecting" && reason?.code);
  client.on("error", ({ error }) => error.retryAfter?.toFixed());
  subscription.unsubscribe();
  await Promise.all([
    users.stopWatching(),
    next.stopWatching(),
    general.stopWatching(),
    general.addMembers(new Set(["jane"])),
  ]);
  await client.disconnectUser().catch((error) => error instanceof ReachabilityError && [error.limit, error.twilioCode]);
  void known;
}

export function faults(user: User): void {
  // @ts-expect-error: there is no such event.
  client.on("user.presence.change", () => {});
  // @ts-expect-error: only the own user tells.
  void user.invisible;
  // @ts-expect-error: setUser changes it.
  user.status = "x";
  // @ts-expect-error: a user has an id.
  void client.connectUser({ status: "x" }, "token");
  // @ts-expect-error: a token is needed.
  void client.connectUser({ id: "me" });
  // @ts-expect-error: a sort is 1 or -1.
  void client.queryUsers({}, { id: 2 });
  // @ts-expect-error: the map is the client's.
  client.users.delete("john");
  // @ts-expect-error: a text or null.
  void client.setUser({ status: 7 });
}

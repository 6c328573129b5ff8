/** An event in a line: its type, and whom it is about. */
export const short = ({ type, state, user, id, cid }) =>
  [type, state, cid, user ? `${user.id} ${user.revision}` : id].filter(Boolean).join(" ");

/** The events until the client is connected again. */
export async function eventsUntilConnected(events) {
  const all = [];
  do all.push(await events.next());
  while (all.at(-1).state !== "connected");
  return all.map(short);
}

const LAST = { type: "error", code: "unavailable", message: "The last." };

/** The events of all that the server has said until now. */
export async function eventsUntilNow(events, socket) {
  socket.send(LAST);
  const all = [];
  for (;;) {
    const event = await events.next();
    if (event.error?.message === LAST.message) return all;
    all.push(event);
  }
}

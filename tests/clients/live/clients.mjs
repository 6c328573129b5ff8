// Clients of the vendor's library in one program, which does what it is told and says what it hears. It runs in Node and
// in a browser's page. Nothing of the library is changed; only the address is given.

const EVENTS = [
  "connectionError",
  "connectionStateChanged",
  "conversationAdded",
  "conversationJoined",
  "conversationLeft",
  "conversationRemoved",
  "conversationUpdated",
  "initFailed",
  "initialized",
  "pushNotification",
  "stateChanged",
  "tokenAboutToExpire",
  "tokenExpired",
  "userSubscribed",
  "userUnsubscribed",
  "userUpdated",
];

// Programmable Chat has other names for the same.
const REASONS = { online: "reachabilityOnline", notifiable: "reachabilityNotifiable" };

function describeUser(user) {
  const { identity, friendlyName, attributes, isSubscribed } = user;
  const isOnline = "isOnline" in user ? user.isOnline : user.online;
  const isNotifiable = "isNotifiable" in user ? user.isNotifiable : user.notifiable;
  return { identity, friendlyName, attributes, isOnline, isNotifiable, isSubscribed };
}

// What is sent of a value. An `undefined` is told from a `null`.
function describe(value, Client) {
  if (value === undefined) return "undefined";
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Client) return "client";
  if (Array.isArray(value)) return value.map((item) => describe(item, Client));
  if (value instanceof Error) return describeError(value);
  if (value instanceof Map) return { entries: [...value] };
  if ("hasNextPage" in value) return { items: value.items.length, hasNextPage: value.hasNextPage };
  if ("identity" in value) return describeUser(value);
  if ("updateReasons" in value) {
    return { user: describeUser(value.user), reasons: value.updateReasons.map((reason) => REASONS[reason] ?? reason) };
  }
  // A push notification's fields are getters.
  if ("badge" in value) {
    const { title, body, sound, badge, action, type, data } = value;
    return { title, body, sound, badge, action, type, data };
  }
  return value;
}

function describeError(error) {
  const { message, name, status, code, body, terminal, httpStatusCode, errorCode } = error ?? {};
  return { message: message ?? String(error), name, status, code, body, terminal, httpStatusCode, errorCode };
}

export class Clients {
  #Client;
  #emit;
  #clients = new Map();

  constructor(Client, emit) {
    this.#Client = Client;
    this.#emit = emit;
  }

  // Carries a command out, and says how it ended.
  async handle(command) {
    const reply = { reply: command.id };
    try {
      reply.ok = describe(await this.#run(command), this.#Client) ?? null;
    } catch (error) {
      reply.error = describeError(error);
    }
    this.#emit(reply);
  }

  async #run({ act, client: name, token, uri, user, method, args = [] }) {
    const options = { Twilsock: { uri } };
    if (act === "open") return this.#listen(name, new this.#Client(token, options));
    if (act === "create") return this.#listen(name, await this.#Client.create(token, options));
    if (act === "registrations") {
      const asked = [];
      this.#Client.populateInitRegistrations({ populateInitRegistrations: (types) => asked.push(...types) });
      return asked;
    }
    if (act === "static") return this.#Client[method](...args);
    const client = this.#clients.get(name);
    if (act === "forget") return this.#forget(name, client);
    if (act === "get") return client[method];
    if (act === "call") return client[method](...args);
    // Of the client's own user, or of one that it is subscribed to, or of one that it was.
    const object = user === undefined ? client.user : await client.getUser(user);
    if (act === "user") return method === undefined ? object : object[method](...args);
    throw new Error(`nothing can do ${act}`);
  }

  // Hears it no more. A client that has lost its server goes on trying, for itself.
  #forget(name, client) {
    client.removeAllListeners();
    this.#clients.delete(name);
  }

  // Hears it from now on. Returns the state in which it begins.
  #listen(name, client) {
    this.#clients.set(name, client);
    for (const event of EVENTS) {
      client.on(event, (value) => this.#emit({ client: name, event, value: describe(value, this.#Client) }));
    }
    // Each user tells the same as the client does.
    client.on("userSubscribed", (user) => {
      user.on("updated", (value) => this.#emit({ client: name, event: "updated", value: describe(value, this.#Client) }));
    });
    return client.connectionState;
  }
}

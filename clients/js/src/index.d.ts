/** A user as this client may see it. */
export interface User {
  readonly id: string;
  readonly name: string | null;
  /** Null: reachability is off for the service, or the user was never online since it was switched on. */
  readonly online: boolean | null;
  /** Whether a push notification can reach the user. Null: not known. */
  readonly notifiable: boolean | null;
  /** What the user says to be doing, at most 256 bytes of UTF-8. */
  readonly status: string | null;
  /** A time as in `2019-01-07T13:17:42.375Z`, exact to 15 minutes while the user is online. Null: never. */
  readonly last_active: string | null;
  /** Null of a member of a channel for whom there is no user yet. */
  readonly created_at: string | null;
  readonly custom: Readonly<Record<string, unknown>>;
  /** Orders what is seen of this user. 0: there is no user of this id. */
  readonly revision: number;
  /** True while this client is offline itself, so that the rest may be out of date. */
  readonly stale: boolean;
}

/** This client's own user, shown truthfully. */
export interface OwnUser extends User {
  /** Whether the user appears offline to all others. */
  readonly invisible: boolean;
}

export interface UserWishes {
  /** At most 256 bytes of UTF-8; null clears it. Left out: it stays. */
  status?: string | null;
  /** Whether the user appears offline to all others. Left out: it stays. */
  invisible?: boolean;
}

/** An access token, or a function that fetches one: null says that there will be none any more. */
export type TokenOrProvider = string | (() => string | null | Promise<string | null>);

export type Value = string | number | boolean | null;

/** What is required of one field. A plain value is `$eq`. */
export type Condition =
  | Value
  | {
      $eq?: Value;
      $ne?: Value;
      $in?: readonly Value[];
      $gt?: string | number;
      $gte?: string | number;
      $lt?: string | number;
      $lte?: string | number;
      $exists?: boolean;
      $autocomplete?: string;
    };

/** Conditions by field, all of them required; and `$and`, `$or`, `$nor` with filters in a list. */
export interface Filter {
  readonly [field: string]: Condition | readonly Filter[] | undefined;
}

export type SortField = { readonly [field: string]: 1 | -1 };
/** At most 3 fields. */
export type Sort = SortField | readonly SortField[];

export interface QueryOptions {
  /** Watches what is found. */
  presence?: boolean;
  limit?: number;
  /** From an earlier result, for its next page. */
  cursor?: string | null;
}

export interface Watched {
  /** Nothing more is told of what was found, from now on. Resolves when the server knows. */
  stopWatching(): Promise<void>;
}

export type QueryResult<T> = T[] &
  Watched & {
    /** For the next page; null after the last one. */
    readonly cursor: string | null;
    /** The index that answered, by name; null if all had to be looked at. */
    readonly index: string | null;
  };

export interface ChannelData {
  /** Ids of users. */
  members?: readonly string[];
  [custom: string]: unknown;
}

export interface ChannelState {
  channel: Channel;
  members: User[];
  /** Whether this call created the channel. */
  created: boolean;
}

export interface Channel extends Watched {
  readonly type: string;
  readonly id: string;
  /** `type:id` */
  readonly cid: string;
  /** Kept up to date while the channel is watched; before, as the last answer said. */
  readonly members: User[];
  // As the last answer said; null before the first.
  readonly custom: Readonly<Record<string, unknown>>;
  readonly member_count: number | null;
  readonly created_by: string | null;
  readonly created_at: string | null;
  readonly updated_at: string | null;
  readonly last_message_at: string | null;

  /** Reads the channel, and creates it if there is none yet; with `presence`, watches its members from now on. */
  watch(options?: { presence?: boolean }): Promise<ChannelState>;
  /** At most 100 ids at once. */
  addMembers(ids: Iterable<string>): Promise<Channel>;
  /** At most 100 ids at once. */
  removeMembers(ids: Iterable<string>): Promise<Channel>;
  /** Events of this channel and its members, while it is watched, and of the connection. */
  on<T extends keyof Events>(type: T, listener: (event: Events[T]) => void): Subscription;
}

export interface Subscription {
  unsubscribe(): void;
}

/** `disconnected`: and no attempt is made. `connecting`: or waiting to try again. `connected`: and caught up. */
export type ConnectionState = "disconnected" | "connecting" | "connected";

export interface UserEvent<T extends string> {
  type: T;
  /** The object of `client.users`, which goes on changing: copy it to keep it. */
  user: User;
  /** When it changed; null if that happened while this client was offline. */
  at: string | null;
}

/** Events by type. */
export interface Events {
  "connection.changed": {
    type: "connection.changed";
    state: ConnectionState;
    /** Whether the state is `connected`. */
    online: boolean;
    /** Why the connection ended, unless the application asked for it. */
    reason: ReachabilityError | null;
  };
  /** `online`, `notifiable`, `status` or `last_active` of a watched user. */
  "user.presence.changed": UserEvent<"user.presence.changed">;
  /** `name` or `custom` of a watched user. */
  "user.updated": UserEvent<"user.updated">;
  "user.deleted": { type: "user.deleted"; id: string; at: string | null };
  "member.added": { type: "member.added"; cid: string; user: User };
  "member.removed": { type: "member.removed"; cid: string; id: string };
  /** The channel is gone, or this client's user is no member any more. */
  "channel.deleted": { type: "channel.deleted"; cid: string };
  /** What went wrong and was asked for by no call: an attempt to connect, a token, the restore of watches. */
  error: { type: "error"; error: ReachabilityError };
}

export interface ClientOptions {
  /** In ms, how long an answer may take. 10,000 unless given. */
  timeout?: number;
  /** Names this device to the owner of the service, at most 64 bytes. */
  device?: string;
  /** Where there is no global one. */
  WebSocket?: new (url: string) => unknown;
}

export declare class ReachabilityClient {
  /** `url`: the address of the server (`https://…`), or the whole one of the socket (`wss://…/v1/Socket`). */
  constructor(url: string, options?: ClientOptions);

  /** The own user; null while disconnected. */
  readonly user: OwnUser | null;
  /** The own user and all who are watched, by id. They are kept up to date. */
  readonly users: ReadonlyMap<string, User>;
  readonly state: ConnectionState;
  /** Null while there is no connection. */
  readonly connectionId: string | null;

  /** Resolves when connected. From then on, until `disconnectUser`, the client reconnects by itself. */
  connectUser(user: { id: string } & UserWishes, token: TokenOrProvider): Promise<OwnUser>;
  /** Sets what is given. If the client is disconnected and a token is given, connects with it. */
  setUser(user: { id?: string } & UserWishes, token?: TokenOrProvider): Promise<OwnUser>;
  /** Offline at once. Drops all watches; listeners stay. */
  disconnectUser(): Promise<void>;

  queryUsers(filter?: Filter, sort?: Sort, options?: QueryOptions): Promise<QueryResult<User>>;
  queryChannels(filter?: Filter, sort?: Sort, options?: QueryOptions): Promise<QueryResult<Channel>>;
  /** Names a channel, and asks the server nothing yet. `data` is the channel's, if `watch` creates it. */
  channel(type: string, id: string, data?: ChannelData): Channel;

  on<T extends keyof Events>(type: T, listener: (event: Events[T]) => void): Subscription;
}

export declare class ReachabilityError extends Error {
  constructor(code: string, message: string, details?: ErrorDetails);
  readonly name: "ReachabilityError";
  /** One word, for programs. */
  readonly code: string;
  /** In seconds; null if the server said nothing of it. */
  readonly retryAfter: number | null;
  /** The limit that was exceeded. */
  readonly limit: number | null;
  /** Of a token that was refused. */
  readonly twilioCode: number | null;
}

export interface ErrorDetails {
  retryAfter?: number | null;
  limit?: number | null;
  twilioCode?: number | null;
  cause?: unknown;
}

/** Only this client's own user has `invisible`. */
const PRESENCE = ["online", "notifiable", "status", "invisible"];
const PROFILE = ["name", "custom"];

const differs = (before, after) => (field) =>
  field in after && JSON.stringify(before[field]) !== JSON.stringify(after[field]);

/** A member of a channel for whom there is no user. */
const nobody = (id) => ({
  id,
  name: null,
  online: null,
  notifiable: null,
  status: null,
  last_active: null,
  created_at: null,
  custom: {},
  revision: 0,
});

/** Whether what an answer says of a user may have been so before it was deleted. */
const isBefore = (data, heard) => heard?.isDeleted === true && data.revision < heard.below;

/**
 * The users who are watched, each by one object that is kept up to date, and this client's own. What is told of a user is
 * ordered by its revision: what is older, or known, changes nothing and is told to nobody.
 */
export class Users {
  /** By id, as the application sees them. */
  known = new Map();
  /**
   * By id: the user, by how many watches it is held, in which connection it became as it is, and after which request the
   * server said that it is so.
   */
  #entries = new Map();
  #own = null;
  /** Entries of users who are not known, and of deleted ones. */
  #heard;
  #connections = 0;
  #tell;

  constructor(heard, tell) {
    this.#heard = heard;
    this.#tell = tell;
  }

  /** A connection began, of this user. */
  connected(own) {
    this.#connections += 1;
    if (this.#own) this.take(own);
    else this.#own = this.#add(own, this.#heard.now);
    return this.#own.user;
  }

  /** Nothing is heard of the others until their watches are restored. */
  lost() {
    for (const entry of this.#entries.values()) entry.user.stale = entry !== this.#own;
  }

  clear() {
    this.lost();
    this.#entries.clear();
    this.known.clear();
    this.#own = null;
  }

  /**
   * One more watch has the user. `data` is what came with the answer to the request, if anything did; with request 0, what
   * the server said without being asked.
   */
  hold(request, id, data = nobody(id)) {
    this.#answered(request, data);
    const entry = this.#entries.get(id) ?? this.#add(data, request || this.#heard.now, this.#heard.get(id, request));
    entry.holds += 1;
    return entry.user;
  }

  release(id) {
    const entry = this.#entries.get(id);
    entry.holds -= 1;
    if (entry.holds > 0 || entry === this.#own) return;
    this.#entries.delete(id);
    this.known.delete(id);
    // That a user was deleted is kept since it was heard.
    if (!entry.isDeleted) this.#heard.set(id, entry);
  }

  /** A user of the answer to the request: as known, or else as it is just now. */
  show(request, data) {
    this.#answered(request, data);
    return this.known.get(data.id) ?? { ...data, stale: false };
  }

  /** A user as the server says without being asked. `type` is the change that it says is the reason. */
  take(data, { type = null, at = null } = {}) {
    const entry = this.#entries.get(data.id);
    if (entry) this.#apply(entry, data, this.#heard.now, { type, at });
    else if (data.revision > (this.#heard.get(data.id, 0)?.user.revision ?? 0)) {
      this.#heard.set(data.id, { user: data, isDeleted: false, after: this.#heard.now });
    }
  }

  /** A user as the answer to a restored watch says. Revision 0 is: there is none any more. */
  takeRestored(request, data) {
    const entry = this.#entries.get(data.id);
    const isDeleted = data.revision === 0 && entry?.user.revision > 0;
    // What this connection said before may be newer than the answer.
    if (isDeleted && entry.connection < this.#connections) this.delete(data.id);
    else this.#answered(request, data);
  }

  /**
   * Its id stays watched, and its revision stays the least that a user of the same id can have. Without the revision of the
   * deletion, nothing in an answer that is still to come is known to be newer.
   */
  delete(id, { at = null, revision } = {}) {
    const entry = this.#entries.get(id);
    const known = (entry ?? this.#heard.get(id, 0))?.user.revision ?? 0;
    // There is a new one already.
    if (revision < known) return;
    const none = { ...nobody(id), revision: revision ?? known };
    this.#heard.set(id, { user: none, isDeleted: true, below: revision ?? Infinity, after: this.#heard.now });
    if (!entry) return;
    const isNews = !entry.isDeleted && entry.holds > 0;
    Object.assign(entry.user, none, { stale: false });
    Object.assign(entry, { connection: this.#connections, isDeleted: true });
    if (isNews) this.#tell({ type: "user.deleted", id, at });
  }

  /** What the server needs to tell only what is new of these. */
  revisions(ids) {
    const revisionOf = ({ user, isDeleted }) => (isDeleted ? 0 : user.revision);
    return Object.fromEntries([...ids].map((id) => [id, revisionOf(this.#entries.get(id))]));
  }

  /** They are known as they are again. */
  refresh(ids) {
    for (const id of ids) if (this.known.has(id)) this.known.get(id).stale = false;
  }

  #add(data, after, heard) {
    const isOlder = heard && (heard.isDeleted ? isBefore(data, heard) : heard.user.revision > data.revision);
    const latest = isOlder ? heard : { user: data, isDeleted: false, after };
    const user = { ...latest.user, stale: false };
    const entry = { ...latest, user, holds: 0, connection: this.#connections };
    this.#entries.set(user.id, entry);
    this.known.set(user.id, user);
    return entry;
  }

  #answered(request, data) {
    const entry = this.#entries.get(data.id);
    if (entry && !isBefore(data, this.#heard.get(data.id, request))) this.#apply(entry, data, request);
  }

  #apply(entry, data, after, { type = null, at = null } = {}) {
    const { user } = entry;
    if (data.revision < user.revision) return;
    entry.after = Math.max(entry.after, after);
    if (data.revision > user.revision && entry.isDeleted) this.#heard.delete(user.id);
    user.stale = false;
    if (data.revision === user.revision) {
      // While a user is online, the time of the last activity moves on, and that is no change.
      if (data.online && data.last_active > user.last_active) user.last_active = data.last_active;
      return;
    }
    const isNew = differs(user, data);
    const types = new Set(type ? [type] : []);
    if (PRESENCE.some(isNew) || (!data.online && isNew("last_active"))) types.add("user.presence.changed");
    if (PROFILE.some(isNew)) types.add("user.updated");
    Object.assign(user, data);
    Object.assign(entry, { connection: this.#connections, isDeleted: false });
    if (entry.holds > 0) for (const type of types) this.#tell({ type, user, at });
  }
}

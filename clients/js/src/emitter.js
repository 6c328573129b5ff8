const TYPES = new Set([
  "connection.changed",
  "user.presence.changed",
  "user.updated",
  "user.deleted",
  "member.added",
  "member.removed",
  "channel.deleted",
  "error",
]);

/** Listeners by type of event. */
export class Emitter {
  #subscriptions = new Map();

  /** The same function can be subscribed several times. A misspelt type would never be heard, so it is an error. */
  on(type, listener) {
    if (!TYPES.has(type)) throw new TypeError(`There is no event "${type}".`);
    if (typeof listener !== "function") throw new TypeError("A listener is a function.");
    if (!this.#subscriptions.has(type)) this.#subscriptions.set(type, new Set());
    const subscriptions = this.#subscriptions.get(type);
    const subscription = { listener };
    subscriptions.add(subscription);
    return { unsubscribe: () => void subscriptions.delete(subscription) };
  }

  emit(event) {
    const subscriptions = this.#subscriptions.get(event.type) ?? new Set();
    for (const subscription of [...subscriptions]) {
      if (!subscriptions.has(subscription)) continue;
      try {
        subscription.listener(event);
      } catch (error) {
        // One listener's fault is the application's to see, and keeps nothing from the others.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

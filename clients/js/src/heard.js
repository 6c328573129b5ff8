/**
 * What was heard while answers were on their way. An answer to a request that was sent before may have been made before it,
 * an answer to a later one was not.
 */
export class Heard {
  #requests;
  #items = new Map();

  constructor(requests) {
    this.#requests = requests;
  }

  /** The request after which all that is said now was said. */
  get now() {
    return this.#requests.lastId;
  }

  /** `value.after` is that request. */
  set(key, value) {
    this.#items.set(key, value);
  }

  delete(key) {
    this.#items.delete(key);
  }

  /** Undefined: nothing that the answer to this request could be older than. */
  get(key, request) {
    const item = this.#items.get(key);
    return item?.after >= request ? item : undefined;
  }

  all(request) {
    return [...this.#items.values()].filter(({ after }) => after >= request);
  }

  /** Forgets what no answer can be older than. */
  tidy() {
    const oldest = this.#requests.oldestId;
    for (const [key, { after }] of this.#items) if (after < oldest) this.#items.delete(key);
  }
}

/**
 * What was heard while answers were on their way. An answer to a request that was sent before may have been made before it,
 * an answer to a later one was not.
 */
export class Heard {
  #requests;
  /** In the order of hearing. */
  #items = new Map();

  constructor(requests) {
    this.#requests = requests;
  }

  set(key, value) {
    this.#items.delete(key);
    this.#items.set(key, { value, after: this.#requests.lastId });
  }

  delete(key) {
    this.#items.delete(key);
  }

  /** Undefined: nothing that the answer to this request could be older than. */
  get(key, request) {
    const item = this.#items.get(key);
    return item?.after >= request ? item.value : undefined;
  }

  all(request) {
    return [...this.#items.values()].filter(({ after }) => after >= request).map(({ value }) => value);
  }

  /** Forgets what no answer can be older than. */
  tidy() {
    const oldest = this.#requests.oldestId;
    for (const [key, { after }] of this.#items) {
      if (after >= oldest) return;
      this.#items.delete(key);
    }
  }
}

/** What came, in order, for whoever asks next. */
export class Queue {
  #items = [];
  #askers = [];

  push(item) {
    const asker = this.#askers.shift();
    if (asker) asker(item);
    else this.#items.push(item);
  }

  next() {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return new Promise((resolve) => this.#askers.push(resolve));
  }

  /** What came and nobody asked for. */
  get rest() {
    return [...this.#items];
  }
}

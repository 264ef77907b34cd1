// What a table asks Python for, and waits for.

const PATIENCE = 5000; // ms until a request that got no answer is made again

export class Exchange {
  #requests = 0;
  #rows = ""; // the request for rows that waits for its answer
  #copy = "";
  #cell = "";
  #find = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {import("../common/model.js").Model<import("./table.js").State>} model
   * @param {string} uid of the view
   * @param {() => void} onSilence called when a request for rows got no answer
   */
  constructor(model, uid, onSilence) {
    this.model = model;
    this.uid = uid;
    this.onSilence = onSilence;
  }

  get isWaiting() {
    return this.#rows !== "";
  }

  /** @param {Record<string, unknown>} wanted */
  askRows(wanted) {
    this.#rows = this.#next();
    this.#timer = setTimeout(() => {
      this.#rows = "";
      this.onSilence();
    }, PATIENCE);
    this.model.send({ type: "window", request: this.#rows, ...wanted });
  }

  /** For the selected rows as text. */
  askCopy() {
    this.#copy = this.#next();
    this.model.send({ type: "copy", request: this.#copy });
  }

  /**
   * For more of a cell than it shows.
   *
   * @param {import("./rows.js").Id} id
   * @param {string} column
   */
  askCell(id, column) {
    this.#cell = this.#next();
    this.model.send({ type: "cell", request: this.#cell, id, column });
  }

  /**
   * For the places that have a text.
   *
   * @param {string} text
   */
  askFind(text) {
    this.#find = this.#next();
    this.model.send({ type: "find", request: this.#find, text });
  }

  /** Waits for rows no more. */
  forget() {
    this.#rows = "";
    clearTimeout(this.#timer);
  }

  /**
   * Whether a message is the answer that is waited for.
   *
   * @param {{type: string, request: string}} message
   */
  isAnswer({ type, request }) {
    if (type === "copied" && request === this.#copy) {
      this.#copy = "";
      return true;
    }
    if (type === "cell") return request === this.#cell;
    if (type === "found") return request === this.#find;
    if (type !== "rows" || request !== this.#rows) return false;
    this.forget();
    return true;
  }

  #next() {
    return `${this.uid}-${++this.#requests}`;
  }
}

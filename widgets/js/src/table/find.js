// Finds a text in the rows of a table: a field, how many places have it, and the way from one to
// the next.

import { button, element, OWN_KEYS, setText } from "../common/dom.js";
import { grouped } from "../common/numbers.js";

/** @typedef {[key: number, column: number]} Place */

const DELAY = 150; // ms after the last key

export class Find {
  needle = ""; // in lower case, while it is open
  /** @type {Place[]} */
  places = [];
  total = 0;
  #at = -1;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} actions
   * @param {(text: string) => void} actions.ask
   * @param {(place: Place) => void} actions.go
   * @param {() => void} actions.onClose
   */
  constructor({ ask, go, onClose }) {
    this.ask = ask;
    this.go = go;
    this.onClose = onClose;
    this.node = element("div", "varco-find", { role: "search", ...OWN_KEYS });
    this.field = element("input", "", { type: "text", "aria-label": "Find in these rows" });
    this.field.placeholder = "Find in these rows";
    this.count = element("span", "", { role: "status" });
    this.node.append(
      this.field,
      button("‹", () => this.step(-1), { "aria-label": "Previous place", title: "Previous place" }),
      button("›", () => this.step(1), { "aria-label": "Next place", title: "Next place" }),
      this.count,
      button("✕", () => this.close(), { "aria-label": "Close the search" }),
    );
    this.node.hidden = true;
    this.field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.search(), DELAY);
    });
    this.node.addEventListener("keydown", (event) => this.#onKey(event));
  }

  get isOpen() {
    return !this.node.hidden;
  }

  open() {
    this.node.hidden = false;
    this.field.focus();
    this.field.select();
    this.search();
  }

  close() {
    this.dispose();
    this.node.hidden = true;
    this.needle = "";
    this.onClose();
  }

  /** Looks for what is in the field, also after the rows have changed. */
  search() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.needle = this.field.value.toLowerCase();
    if (this.needle) this.ask(this.field.value);
    else this.#tell(" ");
  }

  /**
   * Takes the places that have the text.
   *
   * @param {Place[]} places
   * @param {number} total
   */
  found(places, total) {
    this.places = places;
    this.total = total;
    this.#at = -1;
    if (places.length) this.step(1);
    else this.#tell("not in these rows");
  }

  /** @param {number} by */
  step(by) {
    if (this.#timer)
      this.search(); // what was typed last
    else if (this.places.length && this.needle) {
      this.#at = (this.#at + by + this.places.length) % this.places.length;
      this.#tell(`${grouped(this.#at + 1)} of ${grouped(this.total)}`);
      this.go(this.places[this.#at]);
    }
  }

  dispose() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** @param {string} text */
  #tell(text) {
    setText(this.count, text);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const isAgain = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "f";
    event.stopPropagation();
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && event.target === this.field)
      this.step(event.shiftKey ? -1 : 1);
    else if (isAgain) this.field.select();
    else return;
    event.preventDefault();
  }
}

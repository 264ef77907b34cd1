// A list of which only the rows in sight are drawn, however many there are. The list itself has
// the focus and says which row is active, so that nothing is lost when rows are drawn anew.

import { element, OWN_KEYS } from "../common/dom.js";
import { clamp } from "../common/numbers.js";
import { Redraw } from "../common/redraw.js";

const MARGIN = 4; // rows drawn beyond those in sight

let lists = 0;

/**
 * @template Row
 * @typedef {object} Options
 * @property {string} label
 * @property {string} role of the rows
 * @property {(row: Row) => string} keyOf
 * @property {(node: HTMLElement, row: Row) => void} fill
 * @property {() => HTMLElement} make
 * @property {(row: Row, event: MouseEvent) => void} onClick
 * @property {(row: Row, event: KeyboardEvent) => boolean} onKey whether it does something
 */

/** @template Row */
export class List {
  /** @type {Row[]} */
  rows = [];
  active = 0;
  #height = 0; // of a row, in pixels
  /** @type {Map<string, HTMLElement>} */
  #drawn = new Map();
  #uid = `varco-list-${++lists}-${Math.random().toString(36).slice(2, 8)}`;
  #made = 0;

  /** @param {Options<Row>} options */
  constructor(options) {
    this.options = options;
    this.node = element("div", "varco-channel-list", {
      tabindex: "0",
      "aria-label": options.label,
      ...OWN_KEYS,
    });
    this.space = element("div", "varco-channel-space", { role: "presentation" });
    this.node.append(this.space);
    this.node.addEventListener("scroll", () => this.draw());
    this.node.addEventListener("keydown", (event) => this.#onKey(event));
    this.node.addEventListener("mousedown", (event) => {
      // or text would be selected, and cells by JupyterLab
      if (event.shiftKey || event.ctrlKey || event.metaKey) event.preventDefault();
      this.node.focus({ preventScroll: true });
    });
    this.node.addEventListener("click", (event) => this.#onClick(event));
    this.redraw = new Redraw(this.node, () => {
      this.#measure();
      this.draw();
    });
  }

  /**
   * Shows these rows; the active one stays active where it is among them.
   *
   * @param {Row[]} rows
   */
  show(rows) {
    const { keyOf } = this.options;
    const before = this.rows[this.active];
    this.rows = rows;
    if (
      before !== undefined &&
      (!rows[this.active] || keyOf(rows[this.active]) !== keyOf(before))
    ) {
      const key = keyOf(before);
      const place = rows.findIndex((row) => keyOf(row) === key);
      this.active = place >= 0 ? place : clamp(this.active, 0, Math.max(rows.length - 1, 0));
    }
    if (this.#height) this.draw();
    else this.redraw.schedule();
  }

  /** Measures rows anew, of which there are others now. */
  renew() {
    this.#height = 0;
    for (const node of this.#drawn.values()) node.remove();
    this.#drawn.clear();
  }

  /** @param {number} index */
  activate(index) {
    this.active = clamp(index, 0, this.rows.length - 1);
    const top = this.active * this.#height;
    const { scrollTop, clientHeight } = this.node;
    if (top < scrollTop) this.node.scrollTop = top;
    else if (top + this.#height > scrollTop + clientHeight) {
      this.node.scrollTop = top + this.#height - clientHeight;
    }
    this.draw();
  }

  #measure() {
    const probe = this.options.make();
    this.space.append(probe);
    this.#height = probe.getBoundingClientRect().height;
    probe.remove();
  }

  draw() {
    if (!this.#height) return;
    const { keyOf, fill, role } = this.options;
    const { scrollTop, clientHeight } = this.node;
    this.space.style.height = `${this.rows.length * this.#height}px`;
    const first = Math.max(Math.floor(scrollTop / this.#height) - MARGIN, 0);
    const end = Math.ceil((scrollTop + clientHeight) / this.#height) + MARGIN;
    const wanted = new Map();
    // the active row is there even out of sight, as the list's focus is on it
    const places = new Set([this.active]);
    for (let place = first; place < end; place++) places.add(place);
    for (const place of [...places].sort((a, b) => a - b)) {
      const row = this.rows[place];
      if (row !== undefined) wanted.set(keyOf(row), place);
    }
    for (const [key, node] of this.#drawn) {
      if (wanted.has(key)) continue;
      node.remove();
      this.#drawn.delete(key);
    }
    let position = 0;
    for (const [key, place] of wanted) {
      const node = this.#drawn.get(key) ?? this.#make(key, role);
      const there = this.space.children[position++];
      if (there !== node) this.space.insertBefore(node, there ?? null);
      node.style.transform = `translateY(${place * this.#height}px)`;
      node.dataset.place = String(place);
      node.setAttribute("aria-posinset", String(place + 1));
      node.setAttribute("aria-setsize", String(this.rows.length));
      node.classList.toggle("varco-active", place === this.active);
      if (place === this.active) this.node.setAttribute("aria-activedescendant", node.id);
      fill(node, this.rows[place]);
    }
    if (!this.rows.length) this.node.removeAttribute("aria-activedescendant");
  }

  /**
   * @param {string} key
   * @param {string} role
   */
  #make(key, role) {
    const node = this.options.make();
    node.id = `${this.#uid}-${++this.#made}`;
    node.setAttribute("role", role);
    this.#drawn.set(key, node);
    return node;
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const node = /** @type {HTMLElement | null} */ (target.closest("[data-place]"));
    const place = Number(node?.dataset.place);
    const row = this.rows[place];
    if (node === null || row === undefined) return;
    this.options.onClick(row, event);
    this.activate(this.rows.indexOf(row) < 0 ? place : this.rows.indexOf(row));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const row = this.rows[this.active];
    if (event.altKey || row === undefined) return;
    const page = Math.max(Math.floor(this.node.clientHeight / this.#height) - 1, 1);
    const last = this.rows.length - 1;
    const to = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: 0,
      End: last,
    }[event.key];
    if (to !== undefined && !event.ctrlKey && !event.metaKey) {
      this.activate(to);
      if (event.shiftKey) this.options.onKey(this.rows[this.active], event);
    } else if (!this.options.onKey(row, event)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  dispose() {
    this.redraw.dispose();
  }
}

// Which rows of a table are selected, which one is active, and how Python gets to know.

import { save } from "../common/model.js";

/** @typedef {import("./rows.js").Id} Id */

const DELAY = 60; // ms; a key that is held down is one change, not thirty a second

export class Selection {
  /** @type {Set<Id>} */
  ids = new Set();
  /** @type {number | null} */
  active = null; // key of a row; null is the first one
  /** @type {number | null} */
  anchor = null; // key from which Shift extends
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {import("../common/model.js").Model<import("./table.js").State>} model
   * @param {import("./rows.js").Rows} rows
   * @param {() => void} onChange
   */
  constructor(model, rows, onChange) {
    this.model = model;
    this.rows = rows;
    this.onChange = onChange;
    this.ids = new Set(model.get("selected"));
  }

  /** Takes Python's selection, unless a newer one is about to be sent. */
  read() {
    if (this.#timer) return;
    this.ids = new Set(this.model.get("selected"));
    this.onChange();
  }

  /** Keys mean other rows from now on. */
  reset() {
    this.active = this.anchor = null;
  }

  /** Selects the active row alone. */
  selectActive() {
    this.anchor = this.active;
    this.extend();
  }

  /** Selects from the anchor to the active row. */
  extend() {
    this.anchor ??= this.active;
    if (this.anchor !== null && this.active !== null) this.selectKeys(this.anchor, this.active);
  }

  toggle() {
    if (this.active === null && this.rows.total) this.active = this.rows.keyAt(0);
    const known = this.rows.get(this.active);
    if (!known) return;
    this.anchor = this.active;
    const ids = new Set(this.ids);
    if (!ids.delete(known.id)) ids.add(known.id);
    this.select([...ids]);
  }

  selectAll() {
    this.selectKeys(this.rows.keyAt(0), this.rows.keyAt(this.rows.total - 1));
  }

  /**
   * Selects rows at once where all of them are known; Python knows the others.
   *
   * @param {number} start
   * @param {number} end
   */
  selectKeys(start, end) {
    if (this.rows.total === 0) return;
    const [first, last] = [Math.min(start, end), Math.max(start, end)];
    const ids = this.rows.ids(first, last);
    if (ids) {
      this.select(this.rows.newestFirst ? ids.reverse() : ids);
      return;
    }
    this.dispose();
    const { generation } = this.rows.extent;
    this.model.send({ type: "select", start: first, stop: last + 1, generation });
  }

  /** @param {Id[]} ids */
  select(ids) {
    this.ids = new Set(ids);
    this.onChange();
    this.dispose();
    const known = this.model.get("selected");
    if (ids.length === known.length && ids.every((id, index) => id === known[index])) return;
    this.#timer = setTimeout(() => this.flush(), DELAY);
  }

  /** Tells Python now what it does not know yet. */
  flush() {
    if (!this.#timer) return;
    this.dispose();
    save(this.model, { selected: [...this.ids] });
  }

  dispose() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

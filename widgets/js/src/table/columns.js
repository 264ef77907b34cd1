// The columns of a table: where each begins, how wide it is, and which of them stay in sight.

import { clamp } from "../common/numbers.js";
import { textOf } from "./cells.js";

/** @typedef {[name: string, isNumber: boolean]} Column the first one is the index */

const SHARE = 0.6; // of the width that columns that stay in sight take at most
const FONT = 13; // pixels, for which the other lengths are right

export class Columns {
  /** @type {Column[]} */
  list = [];
  pinned = 0; // how many stay in sight, besides the index
  /** @type {Record<string, string>} */
  days = {}; // the day that all times of a column are of, or ""
  offsets = [0]; // of each column, and of the end
  scale = 1; // of the font
  /** @type {Map<string, number>} */
  #fitting = new Map(); // widths by name, once known
  /** @type {Record<string, number>} */
  #chosen = {}; // by the user

  get count() {
    return this.list.length;
  }

  get width() {
    return this.offsets[this.count];
  }

  get names() {
    return this.list.slice(1).map(([name]) => name);
  }

  /** @param {number} column */
  name(column) {
    return this.list[column][0];
  }

  /** @param {number} column */
  isNumber(column) {
    return column > 0 && this.list[column][1];
  }

  /** @param {number} column */
  isPinned(column) {
    return column > 0 && column <= this.pinned;
  }

  /** @param {number} column */
  widthOf(column) {
    return this.offsets[column + 1] - this.offsets[column];
  }

  /**
   * @param {Column[]} list
   * @param {number} pinned
   * @param {Record<string, string>} days
   */
  set(list, pinned, days) {
    for (const [name] of list) if (days[name] !== this.days[name]) this.#fitting.delete(name);
    this.list = list;
    this.pinned = pinned;
    this.days = days;
    this.#place();
  }

  /** @param {Record<string, number>} widths */
  choose(widths) {
    this.#chosen = widths;
    this.#place();
  }

  /** @param {number} size of the font, in pixels */
  setFont(size) {
    if (this.scale === size / FONT) return;
    this.scale = size / FONT;
    this.#fitting.clear();
    this.#place();
  }

  /**
   * @param {number} column
   * @param {number} width
   */
  resize(column, width) {
    this.choose({ ...this.#chosen, [this.name(column)]: Math.round(clamp(width, 40, 2000)) });
  }

  /**
   * Gives columns that have no width yet one that fits the first rows that came in; returns whether
   * there were such columns.
   *
   * @param {import("./rows.js").Rows} rows
   * @param {() => (text: string) => number} ruler gives what measures texts
   */
  fit(rows, ruler) {
    const sample = rows.sample();
    /** @type {[string, number][]} */
    const places = this.list.map(([name], column) => [name, rows.place(column)]);
    const unset = places
      .filter(([name, cell]) => !this.#fitting.has(name) && cell >= 0)
      .filter(([, cell]) => sample.some(({ cells }) => cells[cell]));
    if (!unset.length) return false;
    const measure = ruler();
    for (const [name, cell] of unset) {
      const texts = sample.map(({ cells }) => textOf(cells[cell] ?? "", this.days[name]));
      const widest = Math.max(...texts.map(measure)) + 26 * this.scale;
      this.#fitting.set(name, Math.ceil(clamp(widest, this.#guess(name), 340 * this.scale)));
    }
    this.#place();
    return true;
  }

  /**
   * How many columns stay in sight where this much room is: the index, and pinned ones.
   *
   * @param {number} width
   */
  fixed(width) {
    let count = Math.min(1 + this.pinned, this.count);
    while (count > 1 && this.offsets[count] > SHARE * width) count--;
    return count;
  }

  /**
   * The columns in sight besides those that stay there, from the first to before the second.
   *
   * @param {number} scrolled
   * @param {number} width
   * @returns {[number, number]}
   */
  inSight(scrolled, width) {
    const fixed = this.fixed(width);
    const [left, right] = [scrolled + this.offsets[fixed], scrolled + width];
    let from = fixed;
    while (from < this.count - 1 && this.offsets[from + 1] <= left) from++;
    let to = from;
    while (to < this.count && this.offsets[to] < right) to++;
    return [from, to];
  }

  /**
   * The column at a place, from the left of the table.
   *
   * @param {number} x in pixels, scrolled along where it does not stay in sight
   */
  at(x) {
    let column = 0;
    while (column < this.count - 1 && this.offsets[column + 1] <= x) column++;
    return column;
  }

  /**
   * How far to scroll so that a column is in sight.
   *
   * @param {number} column
   * @param {number} scrolled
   * @param {number} width
   */
  scrollTo(column, scrolled, width) {
    const fixed = this.fixed(width);
    if (column < fixed) return scrolled;
    const [left, right] = [this.offsets[column], this.offsets[column + 1]];
    if (left < scrolled + this.offsets[fixed]) return left - this.offsets[fixed];
    return right > scrolled + width ? right - width : scrolled;
  }

  #place() {
    this.offsets = [0];
    for (const [name] of this.list) {
      const width = this.#chosen[name] ?? this.#fitting.get(name) ?? this.#guess(name);
      this.offsets.push(this.offsets[this.offsets.length - 1] + width);
    }
  }

  /** @param {string} name */
  #guess(name) {
    return Math.round(clamp(name.length * 8 + 40, 60, 240) * this.scale);
  }
}

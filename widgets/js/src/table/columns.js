// The columns of a table: where each begins, and how wide it is.

import { clamp } from "../common/numbers.js";

/** @typedef {[name: string, isNumber: boolean]} Column the first one is the index */

export class Columns {
  /** @type {Column[]} */
  list = [];
  offsets = [0]; // of each column, and of the end
  /** @type {Map<string, number>} */
  #widths = new Map(); // by name, once known

  get count() {
    return this.list.length;
  }

  get width() {
    return this.offsets[this.count];
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
  widthOf(column) {
    return this.offsets[column + 1] - this.offsets[column];
  }

  /** @param {Column[]} list */
  set(list) {
    this.list = list;
    this.#place();
  }

  /**
   * @param {number} column
   * @param {number} width
   */
  resize(column, width) {
    this.#widths.set(this.name(column), Math.round(clamp(width, 40, 2000)));
    this.#place();
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
    const places = this.list.map(([name], column) => [name, column && column - rows.span[0]]);
    const unset = places
      .filter(([name, cell], column) => !this.#widths.has(name) && (column === 0 || cell > 0))
      .filter(([, cell]) => sample.some(({ cells }) => cells[cell]));
    if (!unset.length) return false;
    const measure = ruler();
    for (const [name, cell] of unset) {
      const widest = Math.max(...sample.map(({ cells }) => measure(cells[cell] ?? "")));
      this.#widths.set(name, Math.ceil(clamp(widest + 26, guess(name), 340)));
    }
    this.#place();
    return true;
  }

  /**
   * The columns in sight besides the index, from the first to before the second.
   *
   * @param {number} scrolled
   * @param {number} width
   * @returns {[number, number]}
   */
  inSight(scrolled, width) {
    const [left, right] = [scrolled + this.offsets[1], scrolled + width];
    let from = 1;
    while (from < this.count - 1 && this.offsets[from + 1] <= left) from++;
    let to = from;
    while (to < this.count && this.offsets[to] < right) to++;
    return [from, to];
  }

  /**
   * How far to scroll so that a column is in sight.
   *
   * @param {number} column
   * @param {number} scrolled
   * @param {number} width
   */
  scrollTo(column, scrolled, width) {
    if (column === 0) return scrolled;
    const [left, right] = [this.offsets[column], this.offsets[column + 1]];
    if (left < scrolled + this.offsets[1]) return left - this.offsets[1];
    return right > scrolled + width ? right - width : scrolled;
  }

  #place() {
    this.offsets = [0];
    for (const [name] of this.list) {
      this.offsets.push(
        this.offsets[this.offsets.length - 1] + (this.#widths.get(name) ?? guess(name)),
      );
    }
  }
}

/** @param {string} name */
const guess = (name) => clamp(name.length * 8 + 40, 60, 240);

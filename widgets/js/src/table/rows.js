// The rows of a table that are known here, by key: the number of arrival, or the position while the
// table is sorted. A position counts rows from the top as they are shown.

import { clamp } from "../common/numbers.js";

/** @typedef {string | number} Id */
/** @typedef {import("./cells.js").Value} Value */
/** @typedef {{id: Id, cells: Value[]}} Row */
/** @typedef {{start: number, ids: Id[], rows: Value[][], span: [number, number]}} Part */

/**
 * What Python says of all rows.
 *
 * @typedef {object} Extent
 * @property {number} generation grows when cells begin to be of other columns or rows
 * @property {number} keys grows when keys begin to mean other rows
 * @property {number} base the key of the first row
 * @property {number} total
 * @property {boolean} sorted
 */

const KEPT = 3000; // rows remembered
const ALL_COLUMNS = 60; // more columns than this are asked for in parts

export class Rows {
  /** @type {Extent} */
  extent = { base: 0, total: 0, sorted: false, generation: -1, keys: -1 };
  isNewestFirst = false; // unless it is sorted
  isStale = false; // the positions of rows may have changed; they are shown until they are renewed
  /** @type {[number, number]} */
  span = [0, ALL_COLUMNS]; // the columns that cells have, besides the index and the pinned ones
  pinned = 0; // columns that all cells have, besides the index
  /** @type {Map<number, Row>} */
  #known = new Map();

  get total() {
    return this.extent.total;
  }

  get newestFirst() {
    return this.isNewestFirst && !this.extent.sorted;
  }

  /** @param {number} position */
  keyAt(position) {
    const { base, total } = this.extent;
    return this.newestFirst ? base + total - 1 - position : base + position;
  }

  /**
   * The position of a row; the first one if there is no key.
   *
   * @param {number | null} key
   */
  positionOf(key) {
    const { base, total } = this.extent;
    if (key === null) return 0;
    return clamp(this.newestFirst ? base + total - 1 - key : key - base, 0, total - 1);
  }

  /** @param {number | null} key */
  get(key) {
    return key === null ? undefined : this.#known.get(key);
  }

  /**
   * The key that a row has now that was drawn with this key and id; null if it is not known.
   *
   * @param {{key: number, id: Id | undefined}} drawn
   */
  keyOf({ key, id }) {
    if (id === undefined || this.#known.get(key)?.id === id) return key;
    for (const [other, row] of this.#known) if (row.id === id) return other;
    return null;
  }

  /**
   * Where the cells of a row have a column; -1 where they do not.
   *
   * @param {number} column 0 is the index
   */
  place(column) {
    if (column <= this.pinned) return column;
    const place = column - this.span[0];
    return place > this.pinned ? place : -1;
  }

  /** Some of the rows, as a sample. */
  sample() {
    return [...this.#known.values()].slice(0, 50);
  }

  /**
   * The ids of the rows from one key to another, where all of them are known.
   *
   * @param {number} first
   * @param {number} last
   */
  ids(first, last) {
    if (last - first >= KEPT) return null;
    const ids = [];
    for (let key = first; key <= last; key++) {
      const known = this.#known.get(key);
      if (!known) return null;
      ids.push(known.id);
    }
    return ids;
  }

  /** @param {Part} part */
  remember({ start, ids, rows }) {
    rows.forEach((cells, index) => {
      this.#known.delete(start + index); // set again, it is the youngest
      this.#known.set(start + index, { id: ids[index], cells });
    });
    for (const key of this.#known.keys()) {
      if (this.#known.size <= KEPT) break;
      this.#known.delete(key);
    }
  }

  forget() {
    this.#known.clear();
  }

  /**
   * What to ask Python for, so that the rows and columns in sight are known; null if they are.
   *
   * @param {number} first position in sight
   * @param {number} count
   * @param {number} from column in sight, the index and the pinned ones not counted
   * @param {number} to column after the last in sight
   * @param {number} columns how many there are, without these
   */
  missing(first, count, from, to, columns) {
    const isWide = columns > ALL_COLUMNS;
    if (isWide && (from < this.span[0] || to > this.span[1])) {
      const start = clamp(from - 20, 0, columns - ALL_COLUMNS);
      this.span = [start, Math.max(start + ALL_COLUMNS, to)];
      this.forget();
    }
    let [low, high] = [first, first + count - 1];
    if (!this.isStale) {
      while (low <= high && this.#known.has(this.keyAt(low))) low++;
      while (high >= low && this.#known.has(this.keyAt(high))) high--;
      if (low > high) return null;
    }
    this.isStale = false;
    const margin = isWide ? 20 : 60;
    const keys = [
      this.keyAt(Math.max(0, low - margin)),
      this.keyAt(Math.min(this.total - 1, high + margin)),
    ];
    const start = Math.min(...keys);
    return { start, count: Math.max(...keys) - start + 1, span: this.span };
  }
}

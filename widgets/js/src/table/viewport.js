// Which rows of a table are in sight, and where its scroll bar is.

import { clamp } from "../common/numbers.js";

export const ROW = 24; // pixels, as in table.css
const MAX_SPACE = 8_000_000; // pixels; browsers cannot lay out much more

export class Viewport {
  top = 0; // position of the first row in sight, fractional
  total = 0; // rows
  height = 0; // of what is seen, the head included, in pixels
  isMoved = true; // the scroll bar has to be put where `top` is

  /** How many rows are seen, fractional. */
  get visible() {
    return Math.max(1, (this.height - ROW) / ROW);
  }

  get lastTop() {
    return Math.max(0, this.total - this.visible);
  }

  /** The height of everything, the head included, in pixels. */
  get space() {
    return Math.min(this.total * ROW, MAX_SPACE) + ROW;
  }

  /** Where the scroll bar belongs. */
  get scroll() {
    if (this.total * ROW <= MAX_SPACE) return Math.round(this.top * ROW);
    return (this.top / this.lastTop) * (this.space - this.height);
  }

  /**
   * The user has moved the scroll bar.
   *
   * @param {number} scroll
   */
  scrollTo(scroll) {
    const isExact = this.total * ROW <= MAX_SPACE;
    const top = isExact ? scroll / ROW : (scroll / (this.space - this.height)) * this.lastTop;
    this.top = clamp(top, 0, this.lastTop);
  }

  /** @param {number} top */
  moveTo(top) {
    this.top = top;
    this.isMoved = true;
  }

  /**
   * Moves as little as possible, so that the row at this position is in sight.
   *
   * @param {number} position
   */
  show(position) {
    if (position < this.top) this.top = position;
    else if (position + 1 > this.top + this.visible) this.top = position + 1 - this.visible;
    this.isMoved = true;
  }

  /** Stays within the rows, after their number or the height has changed. */
  stayInside() {
    this.top = clamp(this.top, 0, this.lastTop);
  }

  /** The first position in sight, and how many there are. */
  inSight() {
    const first = Math.floor(this.top);
    const count = Math.min(Math.ceil(this.visible + this.top - first), this.total - first);
    return { first, count };
  }
}

// Which rows of a table are in sight, and where its scroll bar is.

import { clamp } from "../common/numbers.js";

const MAX_SPACE = 8_000_000; // pixels; browsers cannot lay out much more

export class Viewport {
  top = 0; // position of the first row in sight, fractional
  total = 0; // rows
  height = 0; // of what is seen, the head included, in pixels
  row = 24; // height of one, in pixels; it follows the font
  isMoved = true; // the scroll bar has to be put where `top` is

  /** How many rows are seen, fractional. */
  get visible() {
    return Math.max(1, (this.height - this.row) / this.row);
  }

  get lastTop() {
    return Math.max(0, this.total - this.visible);
  }

  /** The height of everything, the head included, in pixels. */
  get space() {
    return Math.min(this.total * this.row, MAX_SPACE) + this.row;
  }

  /** Where the scroll bar belongs. */
  get scroll() {
    if (this.total * this.row <= MAX_SPACE) return Math.round(this.top * this.row);
    return (this.top / this.lastTop) * (this.space - this.height);
  }

  /**
   * The user has moved the scroll bar.
   *
   * @param {number} scroll
   */
  scrollTo(scroll) {
    const isExact = this.total * this.row <= MAX_SPACE;
    const top = isExact ? scroll / this.row : (scroll / (this.space - this.height)) * this.lastTop;
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

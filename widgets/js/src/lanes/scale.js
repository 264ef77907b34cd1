// Where lanes and marks are in the picture of a timeline.

export const TOP = 4;
export const BOTTOM = 20;
export const RIGHT = 14;
export const REACH = 14; // pixels from a mark within which the pointer means it
export const FAULT = 17; // height of what a fault was, in words
const ROWS = 5; // heights within a lane, so that messages that follow at once are told apart

/** @typedef {[number: number, name: string]} Lane */

/**
 * @typedef {object} Layout
 * @property {import("./marks.js").Marks} marks
 * @property {Lane[]} lanes
 * @property {number} laneHeight
 * @property {boolean} byTime
 * @property {boolean} isSpread whether marks of different events have different heights
 * @property {import("./sight.js").Range} range
 * @property {number} width of the picture
 * @property {number} labelWidth
 */

export class Scale {
  /** @param {Layout} layout */
  constructor({ marks, lanes, laneHeight, byTime, isSpread, range, width, labelWidth }) {
    this.marks = marks;
    this.laneHeight = laneHeight;
    this.byTime = byTime;
    this.low = range[0];
    this.high = range[1];
    this.width = width;
    this.left = labelWidth + 24;
    this.right = width - RIGHT;
    this.top = TOP + FAULT * Math.min(2, marks.faults.length); // faults are in two rows of words
    this.bottom = this.top + Math.max(1, lanes.length) * laneHeight;
    this.height = this.bottom + BOTTOM;
    this.rows = new Map(lanes.map(([number], row) => [number, row]));
    this.count = Math.min(marks.events.length, ROWS);
    this.spread = this.count > 1 && isSpread ? Math.max(0, laneHeight - 20) : 0;
  }

  /** @param {number} place */
  x(place) {
    return this.left + ((place - this.low) / (this.high - this.low)) * (this.right - this.left);
  }

  /** @param {number} x */
  place(x) {
    return this.low + ((x - this.left) / (this.right - this.left)) * (this.high - this.low);
  }

  /** @param {number} lane */
  rowOf(lane) {
    return this.rows.get(lane) ?? 0;
  }

  /**
   * Where a mark is.
   *
   * @param {number} mark
   */
  placeOf(mark) {
    return this.byTime ? this.marks.time[mark] : mark;
  }

  /** @param {number} mark */
  xOf(mark) {
    return this.x(this.placeOf(mark));
  }

  /** @param {number} mark */
  yOf(mark) {
    const { event, lane } = this.marks;
    const middle = this.top + (this.rowOf(lane[mark]) + 0.5) * this.laneHeight;
    if (!event[mark] || this.count < 2) return middle;
    return middle + (((event[mark] - 1) % this.count) / (this.count - 1) - 0.5) * this.spread;
  }

  /** @param {number} x */
  isInSight(x) {
    return x >= this.left - 12 && x <= this.right + RIGHT;
  }

  /** How many marks are in sight. */
  countInSight() {
    const { low, high } = this;
    if (!this.byTime) return high - low;
    return this.marks.time.reduce((sum, time) => sum + Number(time >= low && time <= high), 0);
  }

  /**
   * The mark that the pointer means, of the first `shown`; null if none is near.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} shown
   * @param {number} selected event
   */
  nearest(x, y, shown, selected) {
    const { isLoud, event } = this.marks;
    let [nearest, least] = [-1, REACH * REACH];
    for (let mark = 0; mark < shown; mark++) {
      const [dx, dy] = [this.xOf(mark) - x, this.yOf(mark) - y];
      let distance = dx * dx + dy * dy;
      if (distance > REACH * REACH) continue;
      // of marks on one spot, what stands out is meant
      if (isLoud[mark]) distance *= 0.6;
      if (selected && event[mark] === selected) distance *= 0.5;
      if (distance < least) [nearest, least] = [mark, distance];
    }
    return nearest < 0 ? null : nearest;
  }
}

// Which part of a timeline is in sight. Places are times, or the indexes of marks where each step
// is as wide as the next.

const LIVE_SECONDS = 10;
const LIVE_MARKS = 300;

/** @typedef {[low: number, high: number]} Range */
/** @typedef {[lane: number, start: number, end: number]} Band a stretch of time to shade */

export class Sight {
  /** @type {Range | null} */
  chosen = null; // by the user; null follows
  /** @type {Range} */
  bounds = [0, 1]; // of everything
  byTime = true;
  isLive = false; // while more comes, the newest is in sight

  /** @returns {Range} */
  get range() {
    if (this.chosen) return this.chosen;
    const [low, high] = this.bounds;
    if (!this.isLive) return [low, high];
    return [Math.max(low, high - (this.byTime ? LIVE_SECONDS : LIVE_MARKS)), high];
  }

  /**
   * @param {Float64Array} times of the marks
   * @param {Band[]} bands
   */
  measure(times, bands) {
    if (!times.length) this.bounds = [0, 1];
    else if (this.byTime) this.bounds = timeBounds(times, bands);
    else this.bounds = [-0.5, times.length - 0.5];
  }

  /** Follows again. */
  fit() {
    this.chosen = null;
  }

  /**
   * Shows this part, as far as there is something.
   *
   * @param {number} low
   * @param {number} high
   */
  show(low, high) {
    const [first, last] = this.bounds;
    const size = Math.min(Math.max(high - low, this.byTime ? 1e-5 : 3), last - first);
    const from = Math.min(Math.max(low, first), last - size);
    if (size < last - first) this.chosen = [from, from + size];
    else this.chosen = this.isLive ? [first, last] : null;
  }

  /**
   * @param {number} factor below 1 shows less
   * @param {number} [around] the place that stays where it is; by default the middle
   */
  zoom(factor, around) {
    const [low, high] = this.range;
    const middle = around ?? (low + high) / 2;
    this.show(middle - (middle - low) * factor, middle + (high - middle) * factor);
  }

  /**
   * @param {number} share of what is in sight; below 0 goes back
   * @param {Range} [range] from where to go, instead of what is in sight
   */
  pan(share, [low, high] = this.range) {
    const by = (high - low) * share;
    this.show(low + by, high + by);
  }
}

/**
 * @param {Float64Array} times
 * @param {Band[]} bands
 * @returns {Range}
 */
function timeBounds(times, bands) {
  const low = Math.min(times[0], ...bands.map(([, start]) => start));
  const high = Math.max(times[times.length - 1], ...bands.map(([, , end]) => end));
  const room = (high - low) * 0.015 || 0.0005;
  return [low - room, high + room];
}

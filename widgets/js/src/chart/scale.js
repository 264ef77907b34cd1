// Where times and values are in a chart.

import { ticksOf } from "../common/numbers.js";

export const TOP = 6;
export const BOTTOM = 18;

/** @typedef {{name: string, times: Float64Array, values: Float64Array}} Series */

/**
 * @typedef {object} Scale
 * @property {number} left
 * @property {number} right
 * @property {number} bottom
 * @property {number} early the first time
 * @property {number} late the last one
 * @property {number[]} ticks values to mark
 * @property {(time: number) => number} x
 * @property {(value: number) => number} y
 * @property {(x: number) => number} time
 */

/**
 * The scale that shows all series; null where there is nothing to show.
 *
 * @param {Series[]} series
 * @param {number} width in pixels
 * @param {number} height
 * @param {(value: number) => number} widthOf the label of a value
 * @returns {Scale | null}
 */
export function scaleOf(series, width, height, widthOf) {
  let [early, late, low, high] = [Infinity, -Infinity, 0, -Infinity];
  for (const { times, values } of series) {
    if (!times.length) continue;
    early = Math.min(early, times[0]);
    late = Math.max(late, times[times.length - 1]);
    for (const value of values) {
      if (value < low) low = value;
      if (value > high && value < Infinity) high = value;
    }
  }
  if (![early + late, low, high].every(Number.isFinite)) return null;
  if (late === early) [early, late] = [early - 0.5, late + 0.5];
  if (high <= low) high = low + 1;
  const ticks = ticksOf(low, high, Math.floor((height - TOP - BOTTOM) / 24));
  high = Math.max(high, ...ticks);
  const left = Math.ceil(Math.max(20, ...ticks.map(widthOf))) + 8;
  const right = width - 8;
  const bottom = height - BOTTOM;
  return {
    left,
    right,
    bottom,
    early,
    late,
    ticks,
    x: (time) => left + ((time - early) / (late - early)) * (right - left),
    y: (value) => bottom - ((value - low) / (high - low)) * (bottom - TOP),
    time: (x) => early + ((x - left) / (right - left)) * (late - early),
  };
}

/**
 * A value as a label shows it.
 *
 * @param {number} value
 */
export function valueLabel(value) {
  if (!Number.isFinite(value)) return "–";
  return value.toLocaleString("en-US", {
    maximumFractionDigits: Math.abs(value) >= 100 ? 0 : 2,
    notation: Math.abs(value) >= 1e6 ? "compact" : "standard",
  });
}

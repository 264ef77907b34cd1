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
 * @property {number} step between two ticks
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
 * @param {(value: number, step: number) => number} widthOf the label of a value
 * @param {boolean} fromZero whether 0 is shown whatever the values are
 * @returns {Scale | null}
 */
export function scaleOf(series, width, height, widthOf, fromZero = true) {
  let [early, late, low, high] = [Infinity, -Infinity, fromZero ? 0 : Infinity, -Infinity];
  for (const { times, values } of series) {
    if (!times.length) continue;
    early = Math.min(early, times[0]);
    late = Math.max(late, times[times.length - 1]);
    for (const value of values) {
      if (value < low && value > -Infinity) low = value;
      if (value > high && value < Infinity) high = value;
    }
  }
  if (![early + late, low, high].every(Number.isFinite)) return null;
  if (late === early) [early, late] = [early - 0.5, late + 0.5];
  if (!fromZero) {
    const beside = (high - low) / 20 || Math.abs(high) / 1000 || 0.5;
    [low, high] = [low - beside, high + beside];
  }
  if (high <= low) high = low + 1;
  const ticks = ticksOf(low, high, Math.floor((height - TOP - BOTTOM) / 24));
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : high - low;
  if (fromZero) high = Math.max(high, ...ticks);
  const left = Math.ceil(Math.max(20, ...ticks.map((value) => widthOf(value, step)))) + 8;
  const right = width - 8;
  const bottom = height - BOTTOM;
  return {
    left,
    right,
    bottom,
    early,
    late,
    ticks,
    step,
    x: (time) => left + ((time - early) / (late - early)) * (right - left),
    y: (value) => bottom - ((value - low) / (high - low)) * (bottom - TOP),
    time: (x) => early + ((x - left) / (right - left)) * (late - early),
  };
}

/**
 * A value as a label shows it.
 *
 * @param {number} value
 * @param {number} step to the next value that has another label
 */
export function valueLabel(value, step = Infinity) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0"; // also for -0
  if (size < 1e-4) return value.toPrecision(3);
  return value.toLocaleString("en-US", {
    maximumFractionDigits: Math.max(
      size >= 100 ? 0 : 2,
      Math.min(6, Math.ceil(-Math.log10(step) - 1e-9)),
    ),
    notation: size >= 1e6 && step >= size / 100 ? "compact" : "standard",
  });
}

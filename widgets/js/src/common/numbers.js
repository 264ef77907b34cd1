// Numbers of the kernel, and places on a scale.

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
export const clamp = (value, low, high) => Math.max(low, Math.min(value, high));

/** @param {number} value */
export const grouped = (value) => value.toLocaleString("en-US");

/** @typedef {ArrayBuffer | DataView<ArrayBuffer>} Bytes */

/**
 * Bytes of the kernel as numbers of a type.
 *
 * @template T
 * @param {new (buffer: ArrayBuffer) => T} Type
 * @param {Bytes} [bytes]
 */
export function numbersOf(Type, bytes = new ArrayBuffer(0)) {
  if (bytes instanceof ArrayBuffer) return new Type(bytes);
  // a copy, as the numbers must begin at a multiple of their size
  return new Type(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/**
 * How many values at the beginning fulfil a condition that none of the others does.
 *
 * @param {ArrayLike<number>} values
 * @param {(value: number) => boolean} condition
 */
export function countWhile(values, condition) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (condition(values[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The index of the value that is nearest to `wanted`, of ascending values.
 *
 * @param {ArrayLike<number>} values
 * @param {number} wanted
 */
export function nearestIndex(values, wanted) {
  const before = Math.max(0, countWhile(values, (value) => value <= wanted) - 1);
  const after = Math.min(values.length - 1, before + 1);
  return wanted - values[before] <= values[after] - wanted ? before : after;
}

/**
 * About `count` round values from `low` to `high`.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} count
 */
export function ticksOf(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((unit) => unit * power >= rough) ?? 10) * power;
  const ticks = [];
  for (let index = Math.ceil(low / step); index * step <= high + step / 1e6; index++) {
    ticks.push(index * step);
  }
  return ticks;
}

// What a table says of its rows. Pure.

import { grouped } from "../common/numbers.js";

/**
 * @typedef {object} Said
 * @property {number} total
 * @property {number} selected
 * @property {string} sortBy "" for the order of arrival
 * @property {boolean} isDescending
 * @property {boolean} isPage whether there are more rows elsewhere
 * @property {Record<string, string>} days as in `Columns`
 * @property {string} note
 */

/** @param {Said} said */
export function wordsOf({ total, selected, sortBy, isDescending, isPage, days, note }) {
  const parts = [`${grouped(total)} ${total === 1 ? "row" : "rows"}`];
  if (selected) parts.push(`${grouped(selected)} selected`);
  if (sortBy) {
    const order = isDescending ? "from the highest" : "from the lowest";
    parts.push(`${isPage ? "this page sorted" : "sorted"} by ${sortBy}, ${order}`);
  }
  const named = Object.entries(days).filter(([, day]) => day);
  const distinct = new Set(named.map(([, day]) => day));
  if (distinct.size === 1) parts.push(`times of ${named[0][1]}, UTC`);
  else parts.push(...named.map(([name, day]) => `${name} of ${day}, UTC`));
  if (note) parts.push(note);
  return parts.join(" · ");
}

/**
 * @param {number} number
 * @param {string} noun
 */
export const counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;

// Which values of a list of choices are shown, in which order, and what the choice is in words.

/** @typedef {[value: string, count: number | null]} Choice null where there is none just now */

/**
 * The choices in the order that their values had before; new ones come after these.
 *
 * @param {Choice[]} choices
 * @param {string[]} order
 */
export function inOrder(choices, order) {
  const places = new Map(order.map((value, place) => [value, place]));
  /** @param {Choice} choice */
  const placeOf = ([value]) => places.get(value) ?? order.length;
  return [...choices].sort((one, other) => placeOf(one) - placeOf(other));
}

/**
 * The choices whose value has all words of a text, whatever their case.
 *
 * @param {Choice[]} choices
 * @param {string} text
 */
export function found(choices, text) {
  const words = text.toLowerCase().split(/\s+/);
  return choices.filter(([value]) => words.every((word) => value.toLowerCase().includes(word)));
}

/**
 * What is chosen when a value was ticked, or its tick taken away.
 *
 * @param {string[]} chosen
 * @param {string} value
 */
export const toggled = (chosen, value) =>
  chosen.includes(value) ? chosen.filter((other) => other !== value) : [...chosen, value];

/**
 * @param {string[]} chosen
 * @param {number} count of all choices
 */
export function inWords(chosen, count) {
  if (chosen.length > 1) return `${chosen.length} of ${Math.max(count, chosen.length)}`;
  return chosen[0] ?? "all";
}

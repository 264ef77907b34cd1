// How a user arranges columns: what each choice makes of the arrangement before. Pure.

import { clamp } from "../common/numbers.js";

/**
 * @typedef {object} Arrangement
 * @property {string[]} [order] columns that come first, in this order
 * @property {string[]} [hidden]
 * @property {string[]} [pinned] columns that stay in sight
 * @property {Record<string, number>} [widths] in pixels
 * @property {boolean} [show_empty] whether columns without a value are shown
 */

/**
 * @param {Arrangement} arrangement
 * @param {string} name
 * @returns {Arrangement}
 */
export const hide = (arrangement, name) => ({
  ...without(arrangement, "pinned", name),
  hidden: [...(arrangement.hidden ?? []), name],
});

/**
 * @param {Arrangement} arrangement
 * @param {string} name
 */
export const unhide = (arrangement, name) => without(arrangement, "hidden", name);

/**
 * @param {Arrangement} arrangement
 * @param {string} name
 * @param {boolean} isPinned
 * @returns {Arrangement}
 */
export function pin(arrangement, name, isPinned) {
  const others = without(arrangement, "pinned", name);
  return isPinned ? { ...others, pinned: [...(others.pinned ?? []), name] } : others;
}

/**
 * Moves a column to the place of another, among the pinned ones or among the others.
 *
 * @param {Arrangement} arrangement
 * @param {string[]} names of the columns that are shown, in their order, without the index
 * @param {number} pinned how many of them are pinned
 * @param {number} from
 * @param {number} to
 * @returns {Arrangement}
 */
export function move(arrangement, names, pinned, from, to) {
  const isPinned = from < pinned;
  const place = isPinned ? clamp(to, 0, pinned - 1) : clamp(to, pinned, names.length - 1);
  const moved = [...names];
  moved.splice(place, 0, ...moved.splice(from, 1));
  if (isPinned) return { ...arrangement, pinned: moved.slice(0, pinned) };
  // columns that are not shown now keep their places behind these
  const rest = (arrangement.order ?? []).filter((name) => !moved.includes(name));
  return { ...arrangement, order: [...moved, ...rest] };
}

/**
 * @param {Arrangement} arrangement
 * @param {string} name
 * @param {number} width
 * @returns {Arrangement}
 */
export const widen = (arrangement, name, width) => ({
  ...arrangement,
  widths: { ...arrangement.widths, [name]: width },
});

/**
 * @param {Arrangement} arrangement
 * @param {"hidden" | "pinned"} list
 * @param {string} name
 * @returns {Arrangement}
 */
const without = (arrangement, list, name) => ({
  ...arrangement,
  [list]: (arrangement[list] ?? []).filter((other) => other !== name),
});

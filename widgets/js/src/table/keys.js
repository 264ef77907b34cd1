// What the keys do in a table.

/** @typedef {Pick<KeyboardEvent, "key" | "shiftKey" | "ctrlKey" | "metaKey" | "altKey">} Key */

/**
 * @typedef {"copy" | "selectAll" | "left" | "right" | "narrower" | "wider" | "leaveHead" | "sort" |
 *   "up" | "down" | "pageUp" | "pageDown" | "first" | "last" | "toggle" | "open" | "clear" |
 *   "find" | "menu" | "moveLeft" | "moveRight"} Command
 */

/** @type {Record<string, Command>} */
const WITH_CONTROL = { c: "copy", a: "selectAll", f: "find" };

/** @type {Record<string, Command>} */
const IN_HEAD_WITH_CONTROL = { ArrowLeft: "moveLeft", ArrowRight: "moveRight" };

/** @type {Record<string, Command>} */
const IN_HEAD = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowDown: "leaveHead",
  Escape: "leaveHead",
  Enter: "sort",
  " ": "sort",
};

/** @type {Record<string, Command>} */
const IN_HEAD_WITH_SHIFT = { ...IN_HEAD, ArrowLeft: "narrower", ArrowRight: "wider" };

/** @type {Record<string, Command>} */
const IN_BODY = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
  PageUp: "pageUp",
  PageDown: "pageDown",
  Home: "first",
  End: "last",
  Enter: "open",
  Escape: "clear",
  " ": "toggle",
};

/** @param {Pick<Key, "ctrlKey" | "metaKey">} event */
export const hasControl = ({ ctrlKey, metaKey }) => ctrlKey || metaKey;

/**
 * @param {Key} key
 * @param {boolean} inHead whether the active cell is in the head
 * @returns {Command | undefined}
 */
export function commandOf(key, inHead) {
  if (key.altKey) return undefined;
  if (key.key === "ContextMenu" || (key.key === "F10" && key.shiftKey)) return "menu";
  if (hasControl(key) && key.key.length === 1) return WITH_CONTROL[key.key.toLowerCase()];
  if (hasControl(key) && inHead && IN_HEAD_WITH_CONTROL[key.key]) {
    return IN_HEAD_WITH_CONTROL[key.key];
  }
  if (!inHead) return IN_BODY[key.key];
  return (key.shiftKey ? IN_HEAD_WITH_SHIFT : IN_HEAD)[key.key];
}

// A payload as a tree, of which a closed branch costs nothing.

import { element } from "../common/dom.js";

/**
 * @typedef {object} Tree
 * @property {string} name
 * @property {string} kind
 * @property {string} [text] of a leaf
 * @property {number} [size] how many fields or values a branch has
 * @property {Tree[]} [children]
 * @property {number} [left_out] how many of them are not sent
 */

const OPEN_DEPTH = 2; // levels that are open at first
const OPEN_SIZE = 30; // larger lists and objects are closed at first

/**
 * @param {Tree} tree
 * @returns {HTMLElement}
 */
export function branch(tree, depth = 0) {
  const { name, kind, size = 0, children, left_out: leftOut } = tree;
  if (!children) return leaf(tree);
  const details = element("details");
  const summary = element("summary");
  const inner = element("div");
  if (name) summary.append(keyed(name), ": ");
  summary.append(kind === "list" ? "[…]" : "{…}", remark(`${kind}, ${sizeWords(kind, size)}`));
  details.append(summary, inner);
  const fill = () => {
    if (inner.childElementCount) return;
    for (const child of children) inner.append(branch(child, depth + 1));
    if (leftOut) inner.append(remark(`${leftOut} more not shown`));
  };
  details.addEventListener("toggle", fill);
  if (depth < OPEN_DEPTH && (size <= OPEN_SIZE || depth === 0)) {
    fill();
    details.open = true;
  }
  return details;
}

/** @param {Tree} tree */
function leaf({ name, kind, text = "" }) {
  const row = element("div", "varco-leaf");
  const shown = kind === "text" ? JSON.stringify(text) : text;
  if (name) row.append(keyed(name), ": ");
  row.append(element("span", "varco-value", { "data-kind": kind }, shown), remark(kind));
  return row;
}

/** @param {string} text */
export const remark = (text) => element("span", "varco-kind", {}, text);

/** @param {string} name */
const keyed = (name) => element("span", "varco-key", {}, name);

/**
 * @param {string} kind
 * @param {number} size
 */
function sizeWords(kind, size) {
  const noun = kind === "list" ? "value" : "field";
  return `${size.toLocaleString("en")} ${noun}${size === 1 ? "" : "s"}`;
}

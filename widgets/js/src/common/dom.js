// The elements that views are made of. What comes from data reaches them as text, never as markup.

import "./theme.css";

/** On an element that handles keys itself: JupyterLab would take them for its own shortcuts. */
export const OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {Record<string, string>} [attributes]
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, className = "", attributes = {}, text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}

/**
 * @param {string} label
 * @param {() => void} onClick
 * @param {Record<string, string>} [attributes]
 */
export function button(label, onClick, attributes = {}) {
  const made = element("button", "", { type: "button", ...attributes }, label);
  made.addEventListener("click", onClick);
  return made;
}

/**
 * Sets the text of a node, which costs nothing if it is the same.
 *
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Sets the text of a node and hides the node if there is none.
 *
 * @param {HTMLElement} node
 * @param {string} text
 */
export function showText(node, text) {
  setText(node, text);
  node.hidden = !text;
}

/**
 * Puts a tip beside a place, on the side that has more room.
 *
 * @param {HTMLElement} tip
 * @param {{x: number, y: number, width: number, distance: number}} place
 */
export function placeTip(tip, { x, y, width, distance }) {
  const isLeft = x < width / 2;
  tip.style.left = isLeft ? `${x + distance}px` : "auto";
  tip.style.right = isLeft ? "auto" : `${width - x + distance}px`;
  tip.style.top = `${y}px`;
}

/**
 * Copies `text`; returns whether the browser did.
 *
 * @param {string} text
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // a page without a secure address has no clipboard, only this command
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    const area = element("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    before?.focus();
    return isDone;
  }
}

/**
 * A button that copies what `text` gives, and says for a moment whether that worked.
 *
 * @param {string} label
 * @param {() => string | Promise<string>} text
 */
export function copyButton(label, text) {
  const made = button(label, async () => {
    made.textContent = (await copy(await text())) ? "Copied" : "Not copied";
    setTimeout(() => {
      made.textContent = label;
    }, 1500);
  });
  return made;
}

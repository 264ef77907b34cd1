// A menu of choices, opened by the right mouse button, the menu key or a small button.

import { button, element, OWN_KEYS } from "../common/dom.js";

/** @typedef {{label: string, run: () => void, isDisabled?: boolean}} Choice */

export class Menu {
  /** @param {() => void} onClose called when it is closed by a key or a choice */
  constructor(onClose) {
    this.onClose = onClose;
    // in the browser's top layer, as outputs of cells cut what goes beyond them
    this.node = element("div", "varco-menu", { role: "menu", popover: "auto", ...OWN_KEYS });
    this.node.addEventListener("keydown", (event) => this.#onKey(event));
    this.node.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  get isOpen() {
    return this.node.matches(":popover-open");
  }

  /**
   * @param {string} label what the choices are about
   * @param {Choice[][]} groups
   * @param {{x: number, y: number}} place in the window
   */
  open(label, groups, { x, y }) {
    const { node } = this;
    node.setAttribute("aria-label", label);
    node.replaceChildren();
    const some = groups.filter((choices) => choices.length);
    some.forEach((choices, index) => {
      if (index) node.append(element("div", "varco-line", { role: "separator" }));
      node.append(...choices.map((choice) => this.#item(choice)));
    });
    node.showPopover();
    node.style.left = `${Math.max(4, Math.min(x, window.innerWidth - node.offsetWidth - 4))}px`;
    node.style.top = `${Math.max(4, Math.min(y, window.innerHeight - node.offsetHeight - 4))}px`;
    this.#items[0]?.focus();
  }

  close() {
    if (this.isOpen) this.node.hidePopover();
  }

  /** @param {Choice} choice */
  #item({ label, run, isDisabled = false }) {
    const made = button(
      label,
      () => {
        this.close();
        this.onClose();
        run();
      },
      { role: "menuitem", tabindex: "-1" },
    );
    made.disabled = isDisabled;
    return made;
  }

  get #items() {
    return /** @type {HTMLButtonElement[]} */ ([
      ...this.node.querySelectorAll("button:not(:disabled)"),
    ]);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    event.stopPropagation();
    const items = this.#items;
    const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
    if (event.key in to) {
      event.preventDefault();
      items.at(to[event.key] % items.length)?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      this.close();
      this.onClose();
    }
  }
}

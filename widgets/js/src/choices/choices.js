// Values to choose among, with how many there are of each: a button, and the list that it opens.

import "./choices.css";
import { button, element, OWN_KEYS, setText, showText } from "../common/dom.js";
import { listen, onChange, save, widgetOf } from "../common/model.js";
import { clamp, grouped } from "../common/numbers.js";
import { found, inOrder, inWords, toggled } from "./values.js";

/** @typedef {import("./values.js").Choice} Choice */
/**
 * @typedef {object} State
 * @property {string} label
 * @property {Choice[]} choices the most frequent first
 * @property {string[]} chosen all of them if it is empty
 * @property {boolean} disabled
 */

const MANY = 8; // choices that are searched in rather than looked through
const DRAWN = 200; // choices at most
const ROWS = 10; // that a page key goes on by

let lists = 0;

class Choices {
  active = 0; // place in the list
  /** @type {Choice[]} */
  shown = [];
  /** @type {string[]} */
  order = []; // of the values when the list was opened, so that none moves under the mouse
  uid = `varco-choices-${++lists}-${Math.random().toString(36).slice(2, 8)}`;

  /**
   * @param {import("../common/model.js").Model<State>} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    this.model = model;
    const label = model.get("label");
    this.box = element("div", "varco-choices-list", {
      popover: "auto",
      role: "dialog",
      "aria-label": label,
      ...OWN_KEYS,
    });
    this.opener = button("", () => {}, { class: "varco-choices-button" });
    this.opener.popoverTargetElement = this.box;
    this.name = element("span", "", {}, label);
    this.value = element("b");
    this.opener.append(this.name, this.value);
    // opening focuses the first of `search` and `list` that is shown, before another key is pressed
    this.search = element("input", "", {
      type: "search",
      "aria-label": `Find in ${label}`,
      autofocus: "",
    });
    this.search.placeholder = "Type to find";
    this.list = element("div", "varco-choices-rows", {
      role: "listbox",
      tabindex: "0",
      autofocus: "",
      "aria-label": label,
      "aria-multiselectable": "true",
    });
    this.hint = element("span", "", { role: "status" });
    this.all = button("Show all", () => this.choose([]));
    const foot = element("div", "varco-hint varco-choices-foot");
    foot.append(this.hint, this.all);
    this.box.append(this.search, this.list, foot);
    el.classList.add("varco", "varco-choices");
    el.append(this.opener, this.box);
    this.box.addEventListener("beforetoggle", (event) => this.onToggle(event));
    this.box.addEventListener("keydown", (event) => this.onKey(event));
    this.box.addEventListener("focusout", (event) => this.onLeave(event));
    this.search.addEventListener("input", () => {
      this.active = 0;
      this.drawList();
    });
    this.list.addEventListener("click", (event) => this.onClick(event));
    this.silence = listen(
      model,
      onChange(["choices", "chosen", "disabled"], () => this.draw()),
    );
    this.draw();
  }

  dispose() {
    this.silence();
  }

  get isOpen() {
    return this.box.matches(":popover-open");
  }

  // --- what the user does -----------------------------------------------------------------------

  /** @param {Event} event */
  onToggle(event) {
    if (/** @type {ToggleEvent} */ (event).newState !== "open") return;
    const { left, right, top, bottom } = this.opener.getBoundingClientRect();
    const { innerWidth, innerHeight } = window;
    const isAbove = top > innerHeight - bottom;
    const isLeft = right > innerWidth - left; // of its right edge, where there is more room
    const { style } = this.box;
    style.left = isLeft ? "auto" : `${left}px`;
    style.right = isLeft ? `${innerWidth - right}px` : "auto";
    style.top = isAbove ? "auto" : `${bottom + 2}px`;
    style.bottom = isAbove ? `${innerHeight - top + 2}px` : "auto";
    style.maxWidth = `${(isLeft ? right : innerWidth - left) - 10}px`;
    style.maxHeight = `${(isAbove ? top : innerHeight - bottom) - 10}px`;
    this.search.value = "";
    this.active = 0;
    this.order = this.model.get("choices").map(([value]) => value);
    this.drawList();
  }

  close() {
    this.box.hidePopover();
    this.opener.focus();
  }

  /** @param {FocusEvent} event */
  onLeave({ relatedTarget }) {
    const isOutside = relatedTarget instanceof Node && !this.box.contains(relatedTarget);
    if (isOutside && relatedTarget !== this.opener && this.isOpen) this.box.hidePopover();
  }

  /** @param {string[]} chosen */
  choose(chosen) {
    save(this.model, { chosen });
    this.draw();
  }

  /** @param {string} value */
  chooseOnly(value) {
    this.choose([value]);
    this.close();
  }

  /** @param {string} value */
  toggle(value) {
    this.choose(toggled(this.model.get("chosen"), value));
  }

  /** @param {MouseEvent} event */
  onClick(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const place = Number(target.closest("[data-place]")?.getAttribute("data-place") ?? -1);
    if (!this.shown[place]) return;
    this.active = place;
    const [value] = this.shown[place];
    const isTick = target.classList.contains("varco-choices-tick");
    if (isTick || event.ctrlKey || event.metaKey || event.shiftKey) this.toggle(value);
    else this.chooseOnly(value);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    event.stopPropagation();
    const isTyped = event.target === this.search;
    /** @type {Record<string, number>} */
    const to = {
      ArrowDown: this.active + (isTyped ? 0 : 1),
      ArrowUp: this.active - 1,
      PageDown: this.active + ROWS,
      PageUp: this.active - ROWS,
      ...(isTyped ? {} : { Home: 0, End: this.shown.length - 1 }),
    };
    const value = this.shown[this.active]?.[0];
    if (event.key in to) {
      this.active = clamp(to[event.key], 0, Math.max(this.shown.length - 1, 0));
      this.list.focus();
      this.drawList();
      this.list.children[this.active]?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Escape") this.close();
    else if (event.target === this.all || value === undefined) return;
    else if (event.key === "Enter") this.chooseOnly(value);
    else if (event.key === " " && !isTyped) this.toggle(value);
    else return;
    event.preventDefault();
  }

  // --- drawing ----------------------------------------------------------------------------------

  draw() {
    const { model, opener } = this;
    const chosen = model.get("chosen");
    setText(this.value, inWords(chosen, model.get("choices").length));
    opener.title = chosen.length > 1 ? chosen.join(", ") : "";
    opener.disabled = model.get("disabled");
    opener.classList.toggle("varco-chosen", chosen.length > 0);
    if (this.isOpen) this.drawList();
  }

  drawList() {
    const choices = inOrder(this.model.get("choices"), this.order);
    this.search.hidden = choices.length <= MANY;
    const matching = found(choices, this.search.hidden ? "" : this.search.value);
    this.shown = matching.slice(0, DRAWN);
    this.list.replaceChildren(...this.shown.map((choice, place) => this.row(choice, place)));
    this.list.hidden = !this.shown.length;
    if (this.shown.length) this.list.setAttribute("aria-activedescendant", this.idOf(this.active));
    const left = matching.length - this.shown.length;
    const hint = left
      ? `and ${grouped(left)} more: type to find them`
      : this.shown.length
        ? "Click a name to choose only that; tick boxes for several."
        : choices.length
          ? "None has this text."
          : "There is none.";
    showText(this.hint, hint);
    this.all.hidden = !this.model.get("chosen").length;
  }

  /** @param {number} place */
  idOf(place) {
    return `${this.uid}-${place}`;
  }

  /**
   * @param {Choice} choice
   * @param {number} place
   */
  row([value, count], place) {
    const isChosen = this.model.get("chosen").includes(value);
    const node = element("div", place === this.active ? "varco-active" : "", {
      role: "option",
      id: this.idOf(place),
      "aria-selected": String(isChosen),
      "data-place": String(place),
      title: value,
    });
    node.append(
      element("span", "varco-choices-tick", { "aria-hidden": "true" }),
      element("span", "varco-choices-name", {}, value),
      element("span", "varco-choices-count", {}, count === null ? "" : grouped(count)),
    );
    return node;
  }
}

export default widgetOf(Choices);

// The list of channels: pick one, or several by their boxes. Rates are renewed in place, so that
// nothing moves under the pointer or the focus.

import "./channels.css";
import { element, OWN_KEYS, setText, showText } from "../common/dom.js";
import { listen, onChange, save } from "../common/model.js";
import { clamp } from "../common/numbers.js";
import { tellSight } from "./sight.js";

/** @typedef {[name: string, count: string, rate: string, isBusy: boolean]} Channel */
/** @typedef {{channels: Channel[], chosen: string[]}} State */
/** @typedef {Record<"node" | "rate" | "count", HTMLElement> & {box: HTMLInputElement}} Row */

const MANY = 12; // channels from which a search box helps
const MAX_ROWS = 500; // drawn

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  el.classList.add("varco", "varco-channels");
  const search = element("input", "", {
    type: "search",
    placeholder: "Find a channel",
    "aria-label": "Find a channel",
    ...OWN_KEYS,
  });
  const list = element("div", "varco-channel-list", {
    role: "listbox",
    "aria-label": "Channels",
    "aria-multiselectable": "true",
    ...OWN_KEYS,
  });
  const hint = element("div", "varco-hint");
  el.append(search, list, hint);
  /** @type {Map<string, Row>} */
  const rows = new Map(); // by name
  /** @type {string[]} */
  let order = [];
  /** @type {string | null} */
  let focused = null;

  /** @param {string[]} chosen */
  function choose(chosen) {
    save(model, { chosen });
    draw();
  }

  /** @param {string} name */
  function toggle(name) {
    const chosen = model.get("chosen");
    const others = chosen.filter((other) => other !== name);
    choose(others.length < chosen.length ? others : [...chosen, name]);
  }

  /** @param {string} name */
  function focus(name) {
    focused = name;
    for (const [other, row] of rows) row.node.tabIndex = other === name ? 0 : -1;
    rows.get(name)?.node.focus();
  }

  /**
   * @param {KeyboardEvent} event
   * @param {string} name
   */
  function onKey(event, name) {
    const index = order.indexOf(name);
    const last = order.length - 1;
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: last }[event.key];
    if (to !== undefined) focus(order[clamp(to, 0, last)]);
    else if (event.key === "Enter") choose([name]);
    else if (event.key === " ") toggle(name);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {string} name */
  function make(name) {
    const node = element("div", "varco-channel", { role: "option", tabindex: "-1" });
    const box = element("input", "", {
      type: "checkbox",
      tabindex: "-1",
      "aria-hidden": "true",
      title: "Show together with others",
    });
    const label = element("span", "varco-channel-name", { title: name }, name);
    const rate = element("span", "varco-channel-rate");
    const count = element("span", "varco-channel-count");
    node.append(box, label, rate, count);
    box.addEventListener("click", (event) => {
      event.stopPropagation();
      focused = name;
      toggle(name);
    });
    node.addEventListener("click", (event) => {
      focus(name);
      if (event.ctrlKey || event.metaKey || event.shiftKey) toggle(name);
      else choose([name]);
    });
    node.addEventListener("keydown", (event) => onKey(event, name));
    node.addEventListener("focus", () => {
      focused = name;
    });
    const row = { node, box, rate, count };
    rows.set(name, row);
    return row;
  }

  function draw() {
    const channels = model.get("channels");
    const chosen = new Set(model.get("chosen"));
    const wanted = search.value.toLowerCase();
    search.hidden = channels.length < MANY && !wanted;
    const found = channels.filter(([name]) => name.toLowerCase().includes(wanted));
    const shown = found.slice(0, MAX_ROWS);
    order = shown.map(([name]) => name);
    for (const [name, row] of rows) {
      if (!order.includes(name)) {
        row.node.remove();
        rows.delete(name);
      }
    }
    const first = focused !== null && order.includes(focused) ? focused : order[0];
    shown.forEach(([name, count, rate, isBusy], index) => {
      const row = rows.get(name) ?? make(name);
      if (list.children[index] !== row.node) list.insertBefore(row.node, list.children[index]);
      setText(row.count, count);
      setText(row.rate, rate);
      row.rate.classList.toggle("varco-busy", isBusy);
      row.box.checked = chosen.has(name);
      row.node.setAttribute("aria-selected", String(chosen.has(name)));
      row.node.tabIndex = name === first ? 0 : -1;
    });
    const left = channels.length - shown.length;
    const more = left ? `${left} more` : "";
    showText(hint, channels.length ? more : "No channel holds a message yet.");
  }

  search.addEventListener("input", draw);
  draw();
  const silence = listen(model, onChange(["channels", "chosen"], draw));
  const stopTelling = tellSight(model, el);
  return () => {
    stopTelling();
    silence();
  };
}

export default { render };

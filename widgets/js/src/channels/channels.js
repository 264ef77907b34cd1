// The streams of a server, and the channels of one of them: a plain list if they are few, a tree by
// the parts of their names if they are many. What is chosen is what is shown; nothing chosen is all.

import "./channels.css";
import { button, element, OWN_KEYS, setText, showText } from "../common/dom.js";
import { listen, save, widgetOf } from "../common/model.js";
import { grouped } from "../common/numbers.js";
import { List } from "./list.js";
import { tellSight } from "./sight.js";
import { isPattern, matcherOf, searchOf } from "./subjects.js";
import { patternsAt, Tree } from "./tree.js";

/** @typedef {import("./tree.js").Node} Node */
/** @typedef {[name: string, kind: string, count: number]} Stream */
/**
 * @typedef {object} State
 * @property {Stream[]} streams
 * @property {string} stream
 * @property {"channel" | "subject"} noun
 * @property {string[]} names
 * @property {number[]} counts
 * @property {(number | null)[]} rates
 * @property {string[]} chosen
 */

const OWN = "varco"; // the kind of the stream of the settings

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** @param {number} value */
const short = (value) => (value < 100_000 ? grouped(value) : compact.format(value));

/**
 * @param {number} number
 * @param {string} noun
 */
const counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;

/** @param {number} rate */
const perSecond = (rate) =>
  `${rate.toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 })}/s`;

class ChannelsView {
  tree = new Tree([]);
  /** @type {Set<string>} */
  unfolded = new Set();
  /** @type {Set<string>} */
  folded = new Set(); // of what is found
  text = ""; // that is searched for
  stream = "";
  anchor = ""; // where a range begins
  grown = ""; // the stream that the tree is of
  hasNames = false; // whether Python has sent others
  frame = 0;

  /**
   * @param {import("../common/model.js").Model<State>} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    this.model = model;
    el.classList.add("varco", "varco-channels");
    this.streams = new List({
      label: "Streams",
      role: "option",
      keyOf: ([name]) => name,
      make: makeStream,
      fill: (node, stream) => this.#fillStream(node, stream),
      onClick: (stream) => this.#lookAt(stream),
      onKey: (stream, { key }) => {
        if (key !== "Enter" && key !== " ") return false;
        this.#lookAt(stream);
        return true;
      },
    });
    this.streams.node.classList.add("varco-streams");
    this.streams.node.setAttribute("role", "listbox");
    this.search = element("input", "", { type: "search", ...OWN_KEYS });
    this.search.title =
      "A part of the name; or * for any one part, > for all that follow: dev.*.temp";
    this.search.addEventListener("input", () => this.#find(this.search.value));
    this.search.addEventListener("keydown", (event) => this.#onSearchKey(event));
    this.list = new List({
      label: "Channels",
      role: "option",
      keyOf: (node) => node.path,
      make: () => makeRow(this.tree.isDeep),
      fill: (node, row) => this.#fill(node, row),
      onClick: (row, event) => this.#onClick(row, event),
      onKey: (row, event) => this.#onKey(row, event),
    });
    this.list.node.setAttribute("aria-multiselectable", "true");
    this.hint = element("span", "", { role: "status" });
    this.all = button("Show everything", () => this.#choose([]));
    const foot = element("div", "varco-hint varco-channel-foot");
    foot.append(this.hint, this.all);
    el.append(this.streams.node, this.search, this.list.node, foot);
    this.foot = foot;
    const stopTelling = tellSight(model, el);
    const silence = listen(model, {
      "change:streams": () => this.#drawStreams(),
      "change:stream": () => this.#drawStreams(),
      "change:names": () => this.#soon(true),
      "change:counts": () => this.#soon(false),
      "change:rates": () => this.#soon(false),
      "change:chosen": () => this.#draw(),
    });
    this.dispose = () => {
      cancelAnimationFrame(this.frame);
      stopTelling();
      silence();
      this.streams.dispose();
      this.list.dispose();
    };
    this.#drawStreams();
    this.#renew();
  }

  // Streams

  /** @param {Stream} stream */
  #lookAt([name]) {
    if (name !== this.model.get("stream")) this.model.send({ type: "stream", name });
  }

  #drawStreams() {
    const streams = this.model.get("streams");
    const isAlone = streams.length < 2 && streams.every(([, kind]) => kind === OWN);
    this.streams.node.hidden = isAlone;
    this.streams.node.style.setProperty("--varco-rows", String(Math.min(streams.length, 5)));
    const shown = this.model.get("stream");
    const place = streams.findIndex(([name]) => name === shown);
    const isNew = shown !== this.stream;
    this.stream = shown;
    this.streams.show(streams);
    if (isNew && place >= 0) this.streams.activate(place);
  }

  /**
   * @param {HTMLElement} node
   * @param {Stream} stream
   */
  #fillStream(node, [name, kind, count]) {
    const [label, what, number] = /** @type {HTMLElement[]} */ ([...node.children]);
    setText(label, name);
    setText(what, kind === "stream" ? "" : kind);
    setText(number, short(count));
    node.title = `${name}: ${kind}, ${counted(count, "message")}`;
    node.setAttribute("aria-selected", String(name === this.model.get("stream")));
  }

  // Channels

  /**
   * Draws what Python has sent, once for all of it.
   *
   * @param {boolean} hasNames
   */
  #soon(hasNames) {
    this.hasNames ||= hasNames;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.hasNames) this.#renew();
      else this.#count();
    });
  }

  #renew() {
    const stream = this.model.get("stream");
    const isNew = !this.tree.names.length || stream !== this.grown;
    this.grown = stream;
    this.hasNames = false;
    const wasDeep = this.tree.isDeep;
    this.tree = new Tree(this.model.get("names"));
    const { isDeep } = this.tree;
    const noun = this.model.get("noun");
    this.list.node.setAttribute("role", isDeep ? "tree" : "listbox");
    this.list.node.setAttribute("aria-label", noun === "channel" ? "Channels" : "Subjects");
    this.list.options.role = isDeep ? "treeitem" : "option";
    this.search.placeholder = `Find a ${noun}`;
    this.search.setAttribute("aria-label", `Find a ${noun}`);
    if (isDeep !== wasDeep) this.list.renew();
    if (isNew) {
      this.text = this.search.value = "";
      this.unfolded = this.tree.unfoldedAtFirst();
      this.list.node.scrollTop = this.list.active = 0;
    }
    this.tree.find(this.text ? searchOf(this.text) : null);
    this.#count();
  }

  #count() {
    this.tree.setNumbers(this.model.get("counts"), this.model.get("rates"));
    this.#draw();
  }

  /** @param {string} text */
  #find(text) {
    this.text = text.trim();
    this.folded.clear();
    this.tree.find(this.text ? searchOf(this.text) : null);
    this.list.node.scrollTop = this.list.active = 0;
    this.#draw();
  }

  /** @param {Node} node */
  #isUnfolded(node) {
    return this.text ? !this.folded.has(node.path) : this.unfolded.has(node.path);
  }

  /**
   * @param {Node} node
   * @param {boolean} isUnfolded
   */
  #fold(node, isUnfolded) {
    const add = isUnfolded !== Boolean(this.text);
    const paths = this.text ? this.folded : this.unfolded;
    if (add) paths.add(node.path);
    else paths.delete(node.path);
    this.#draw();
  }

  #draw() {
    const chosen = this.model.get("chosen");
    this.tree.setChosen(chosen.length ? matcherOf(chosen) : () => false);
    const count = this.tree.names.length;
    this.search.hidden = !this.text && count < 12;
    this.list.node.hidden = !count;
    this.list.show(this.tree.rows((node) => this.#isUnfolded(node)));
    showText(this.hint, this.#words());
    this.all.hidden = !chosen.length;
    this.foot.hidden = this.hint.hidden && this.all.hidden;
  }

  #words() {
    const { names, root } = this.tree;
    const noun = this.model.get("noun");
    if (!names.length) return this.model.get("stream") ? `No ${noun} holds a message yet.` : "";
    if (this.text) return root.found ? this.#foundWords(noun) : this.#nothingWords(noun);
    if (this.model.get("chosen").length) {
      return `${grouped(root.chosen)} of ${counted(names.length, noun)} chosen`;
    }
    return this.tree.isDeep ? counted(names.length, noun) : "";
  }

  /** @param {string} noun */
  #foundWords(noun) {
    const found = `${grouped(this.tree.root.found)} of ${counted(this.tree.names.length, noun)}`;
    return `${found} found; Ctrl+A chooses them`;
  }

  /** @param {string} noun */
  #nothingWords(noun) {
    const longer = `${this.text}.>`;
    const below = isPattern(this.text) && isPattern(longer) ? searchOf(longer) : () => false;
    const more = this.tree.names.filter(below).length;
    return `No ${noun} is found${more ? `; ${longer} finds ${grouped(more)}` : "."}`;
  }

  /**
   * @param {HTMLElement} node
   * @param {Node} row
   */
  #fill(node, row) {
    const [twist, box, label, rate, count] = /** @type {HTMLElement[]} */ ([...node.children]);
    const isInner = row.children.length > 0;
    const isWhole = row.chosen > 0 && row.chosen === row.leaves;
    const messages = counted(row.count, "message");
    node.style.setProperty("--varco-level", String(row.level));
    node.setAttribute("aria-selected", String(isWhole));
    box.className = `varco-channel-box${isWhole ? " varco-whole" : row.chosen ? " varco-part" : ""}`;
    setText(label, row.label);
    setText(rate, row.rate || !this.tree.isDeep ? perSecond(row.rate) : "");
    rate.classList.toggle("varco-busy", row.rate > 0);
    setText(count, this.tree.isDeep ? short(row.count) : messages);
    if (!this.tree.isDeep) {
      if (this.model.get("rates")[row.leaf] === null) setText(rate, "");
      node.title = row.path;
      return;
    }
    const inside = isInner ? `${counted(row.leaves, this.model.get("noun"))}, ` : "";
    node.title = `${row.path}: ${inside}${messages}, ${perSecond(row.rate)}`;
    node.setAttribute("aria-level", String(row.level));
    setText(twist, isInner ? "▸" : "");
    twist.classList.toggle("varco-unfolded", isInner && this.#isUnfolded(row));
    if (isInner) node.setAttribute("aria-expanded", String(this.#isUnfolded(row)));
    else node.removeAttribute("aria-expanded");
  }

  // What the user does

  /** @param {string[]} chosen */
  #choose(chosen) {
    save(this.model, { chosen });
    this.#draw();
  }

  /** @param {Node} row */
  #chooseOnly(row) {
    this.anchor = row.path;
    const isPart = this.text && row.found < row.leaves;
    this.#choose(isPart ? this.tree.patternsOf(this.tree.namesAt([row])) : patternsAt(row));
  }

  /** @param {Node} row */
  #toggle(row) {
    this.anchor = row.path;
    const chosen = this.model.get("chosen");
    if (!this.tree.isDeep && chosen.includes(row.path)) {
      this.#choose(chosen.filter((name) => name !== row.path));
      return;
    }
    const names = this.#chosenNames();
    const here = this.tree.namesAt([row]);
    const isWhole = [...here].every((name) => names.has(name));
    for (const name of here) {
      if (isWhole) names.delete(name);
      else names.add(name);
    }
    this.#choose(this.tree.patternsOf(names));
  }

  /** @param {Node} row */
  #extend(row) {
    const { rows } = this.list;
    const start = rows.findIndex(({ path }) => path === this.anchor);
    const end = rows.indexOf(row);
    const [low, high] = start < 0 ? [end, end] : [Math.min(start, end), Math.max(start, end)];
    const range = rows.slice(low, high + 1);
    const names = this.tree.namesAt(range.filter((node) => !this.#hasRows(node)));
    for (const { leaf } of range) if (leaf >= 0) names.add(this.tree.names[leaf]);
    this.#choose(names.size ? this.tree.patternsOf(names) : patternsAt(row));
  }

  /**
   * Whether what is below a node has rows of its own.
   *
   * @param {Node} node
   */
  #hasRows(node) {
    return node.children.length > 0 && this.#isUnfolded(node);
  }

  #chooseAll() {
    if (!this.text) this.#choose([]);
    else if (this.tree.isDeep && isPattern(this.text)) this.#choose([this.text]);
    else this.#choose(this.tree.patternsOf(this.tree.namesAt([this.tree.root])));
  }

  /** Those that are chosen, in the order in which they were. */
  #chosenNames() {
    const chosen = this.model.get("chosen");
    if (!chosen.length) return new Set();
    const matches = matcherOf(chosen);
    const names = this.tree.names.filter(matches);
    if (this.tree.isDeep) return new Set(names);
    return new Set([...chosen.filter((name) => names.includes(name)), ...names]);
  }

  /**
   * @param {Node} row
   * @param {MouseEvent} event
   */
  #onClick(row, event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.classList.contains("varco-channel-twist") && row.children.length) {
      this.#fold(row, !this.#isUnfolded(row));
    } else if (event.shiftKey) this.#extend(row);
    else if (event.ctrlKey || event.metaKey || target.classList.contains("varco-channel-box")) {
      this.#toggle(row);
    } else this.#chooseOnly(row);
  }

  /**
   * @param {Node} row
   * @param {KeyboardEvent} event
   */
  #onKey(row, event) {
    const { key, shiftKey } = event;
    if (event.ctrlKey || event.metaKey) {
      if (key.toLowerCase() !== "a") return false;
      this.#chooseAll();
    } else if (key === "Enter") this.#chooseOnly(row);
    else if (key === " ") this.#toggle(row);
    else if (key === "Escape") this.#choose([]);
    else if (key === "ArrowRight" || key === "ArrowLeft") this.#step(row, key === "ArrowRight");
    else if (shiftKey && key.length > 1 && key !== "Tab" && key !== "Shift") this.#extend(row);
    else return false;
    return true;
  }

  /**
   * Unfolds, and then goes in; or folds, and then goes out.
   *
   * @param {Node} row
   * @param {boolean} isIn
   */
  #step(row, isIn) {
    const isUnfolded = this.#hasRows(row);
    const place = this.list.rows.indexOf(row);
    if (isIn && row.children.length) {
      if (isUnfolded) this.list.activate(place + 1);
      else this.#fold(row, true);
    } else if (!isIn && isUnfolded) this.#fold(row, false);
    else if (!isIn && row.parent && row.level > 1) {
      this.list.activate(this.list.rows.indexOf(row.parent));
    }
  }

  /** @param {KeyboardEvent} event */
  #onSearchKey(event) {
    if (event.key === "Escape" && this.search.value) {
      this.search.value = "";
      this.#find("");
    } else if (event.key === "ArrowDown") this.list.node.focus();
    else if (event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
  }
}

function makeStream() {
  const node = element("div", "varco-stream");
  node.append(
    element("span", "varco-stream-name"),
    element("span", "varco-stream-number"),
    element("span", "varco-stream-number"),
  );
  return node;
}

/** @param {boolean} isDeep */
function makeRow(isDeep) {
  const node = element("div", `varco-channel ${isDeep ? "varco-in-tree" : "varco-in-list"}`);
  node.append(
    element("span", "varco-channel-twist", { "aria-hidden": "true" }),
    element("span", "varco-channel-box", { "aria-hidden": "true", title: "Show with others" }),
    element("span", "varco-channel-name"),
    element("span", "varco-channel-rate"),
    element("span", "varco-channel-count"),
  );
  return node;
}

export default widgetOf(ChannelsView);

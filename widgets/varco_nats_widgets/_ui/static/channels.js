// src/common/dom.js
var OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };
function element(tag, className = "", attributes = {}, text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}
function button(label, onClick, attributes = {}) {
  const made = element("button", "", { type: "button", ...attributes }, label);
  made.addEventListener("click", onClick);
  return made;
}
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function showText(node, text) {
  setText(node, text);
  node.hidden = !text;
}

// src/common/model.js
function listen(model, handlers) {
  const pairs = Object.entries(handlers);
  for (const [event, handler] of pairs) model.on(event, handler);
  return () => {
    for (const [event, handler] of pairs) model.off(event, handler);
  };
}
function widgetOf(View) {
  const render = ({ model, el }) => {
    const view = new View(model, el);
    return () => view.dispose();
  };
  return { render };
}
function save(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

// src/common/numbers.js
var clamp = (value, low, high) => Math.max(low, Math.min(value, high));
var grouped = (value) => value.toLocaleString("en-US");

// src/common/redraw.js
var Redraw = class {
  #frame = 0;
  /**
   * @param {HTMLElement} node
   * @param {() => void} draw
   */
  constructor(node, draw) {
    this.node = node;
    this.draw = draw;
    this.resizes = new ResizeObserver(() => this.schedule());
    this.resizes.observe(node);
  }
  /**
   * Draws when the size of another node has changed, too.
   *
   * @param {HTMLElement} node
   */
  watch(node) {
    this.resizes.observe(node);
  }
  schedule() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.node.clientWidth) {
        this.draw();
        return;
      }
      this.resizes.unobserve(this.node);
      this.resizes.observe(this.node);
    });
  }
  dispose() {
    this.resizes.disconnect();
    cancelAnimationFrame(this.#frame);
  }
};

// src/channels/list.js
var MARGIN = 4;
var lists = 0;
var List = class {
  /** @type {Row[]} */
  rows = [];
  active = 0;
  #height = 0;
  // of a row, in pixels
  /** @type {Map<string, HTMLElement>} */
  #drawn = /* @__PURE__ */ new Map();
  #uid = `varco-list-${++lists}-${Math.random().toString(36).slice(2, 8)}`;
  #made = 0;
  /** @param {Options<Row>} options */
  constructor(options) {
    this.options = options;
    this.node = element("div", "varco-channel-list", {
      tabindex: "0",
      "aria-label": options.label,
      ...OWN_KEYS
    });
    this.space = element("div", "varco-channel-space", { role: "presentation" });
    this.node.append(this.space);
    this.node.addEventListener("scroll", () => this.draw());
    this.node.addEventListener("keydown", (event) => this.#onKey(event));
    this.node.addEventListener("mousedown", (event) => {
      if (event.shiftKey || event.ctrlKey || event.metaKey) event.preventDefault();
      this.node.focus({ preventScroll: true });
    });
    this.node.addEventListener("click", (event) => this.#onClick(event));
    this.redraw = new Redraw(this.node, () => {
      this.#measure();
      this.draw();
    });
  }
  /**
   * Shows these rows; the active one stays active where it is among them.
   *
   * @param {Row[]} rows
   */
  show(rows) {
    const { keyOf } = this.options;
    const before = this.rows[this.active];
    this.rows = rows;
    if (before !== void 0 && (!rows[this.active] || keyOf(rows[this.active]) !== keyOf(before))) {
      const key = keyOf(before);
      const place = rows.findIndex((row) => keyOf(row) === key);
      this.active = place >= 0 ? place : clamp(this.active, 0, Math.max(rows.length - 1, 0));
    }
    if (this.#height) this.draw();
    else this.redraw.schedule();
  }
  /** Measures rows anew, of which there are others now. */
  renew() {
    this.#height = 0;
    for (const node of this.#drawn.values()) node.remove();
    this.#drawn.clear();
  }
  /** @param {number} index */
  activate(index) {
    this.active = clamp(index, 0, this.rows.length - 1);
    const top = this.active * this.#height;
    const { scrollTop, clientHeight } = this.node;
    if (top < scrollTop) this.node.scrollTop = top;
    else if (top + this.#height > scrollTop + clientHeight) {
      this.node.scrollTop = top + this.#height - clientHeight;
    }
    this.draw();
  }
  #measure() {
    const probe = this.options.make();
    this.space.append(probe);
    this.#height = probe.getBoundingClientRect().height;
    probe.remove();
  }
  draw() {
    if (!this.#height) return;
    const { keyOf, fill, role } = this.options;
    const { scrollTop, clientHeight } = this.node;
    this.space.style.height = `${this.rows.length * this.#height}px`;
    const first = Math.max(Math.floor(scrollTop / this.#height) - MARGIN, 0);
    const end = Math.ceil((scrollTop + clientHeight) / this.#height) + MARGIN;
    const wanted = /* @__PURE__ */ new Map();
    const places = /* @__PURE__ */ new Set([this.active]);
    for (let place = first; place < end; place++) places.add(place);
    for (const place of [...places].sort((a, b) => a - b)) {
      const row = this.rows[place];
      if (row !== void 0) wanted.set(keyOf(row), place);
    }
    for (const [key, node] of this.#drawn) {
      if (wanted.has(key)) continue;
      node.remove();
      this.#drawn.delete(key);
    }
    let position = 0;
    for (const [key, place] of wanted) {
      const node = this.#drawn.get(key) ?? this.#make(key, role);
      const there = this.space.children[position++];
      if (there !== node) this.space.insertBefore(node, there ?? null);
      node.style.transform = `translateY(${place * this.#height}px)`;
      node.dataset.place = String(place);
      node.setAttribute("aria-posinset", String(place + 1));
      node.setAttribute("aria-setsize", String(this.rows.length));
      node.classList.toggle("varco-active", place === this.active);
      if (place === this.active) this.node.setAttribute("aria-activedescendant", node.id);
      fill(node, this.rows[place]);
    }
    if (!this.rows.length) this.node.removeAttribute("aria-activedescendant");
  }
  /**
   * @param {string} key
   * @param {string} role
   */
  #make(key, role) {
    const node = this.options.make();
    node.id = `${this.#uid}-${++this.#made}`;
    node.setAttribute("role", role);
    this.#drawn.set(key, node);
    return node;
  }
  /** @param {MouseEvent} event */
  #onClick(event) {
    const target = (
      /** @type {HTMLElement} */
      event.target
    );
    const node = (
      /** @type {HTMLElement | null} */
      target.closest("[data-place]")
    );
    const place = Number(node?.dataset.place);
    const row = this.rows[place];
    if (node === null || row === void 0) return;
    this.options.onClick(row, event);
    this.activate(this.rows.indexOf(row) < 0 ? place : this.rows.indexOf(row));
  }
  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const row = this.rows[this.active];
    if (event.altKey || row === void 0) return;
    const page = Math.max(Math.floor(this.node.clientHeight / this.#height) - 1, 1);
    const last = this.rows.length - 1;
    const to = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: 0,
      End: last
    }[event.key];
    if (to !== void 0 && !event.ctrlKey && !event.metaKey) {
      this.activate(to);
      if (event.shiftKey) this.options.onKey(this.rows[this.active], event);
    } else if (!this.options.onKey(row, event)) return;
    event.preventDefault();
    event.stopPropagation();
  }
  dispose() {
    this.redraw.dispose();
  }
};

// src/channels/sight.js
function tellSight(model, el) {
  const view = Math.random().toString(36).slice(2);
  let isNear = false;
  let reported = null;
  const report = (seen) => {
    if (seen === reported) return;
    reported = seen;
    model.send({ type: "sight", view, seen });
  };
  const look = () => report(isNear && !document.hidden);
  const leave = () => report(false);
  const observer = new IntersectionObserver((entries) => {
    isNear = entries[entries.length - 1].isIntersecting;
    look();
  });
  observer.observe(el);
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", leave);
  return () => {
    observer.disconnect();
    document.removeEventListener("visibilitychange", look);
    window.removeEventListener("pagehide", leave);
    leave();
  };
}

// src/channels/subjects.js
var tokensOf = (name) => name.split(".");
function isPattern(text) {
  const tokens = tokensOf(text);
  const wild = tokens.filter((token) => token === "*" || token === ">");
  if (!wild.length || tokens.includes("") || tokens.slice(0, -1).includes(">")) return false;
  return tokens.every((token) => token.length === 1 || !/[*>]/.test(token));
}
function covers(pattern, tokens) {
  for (let place = 0; place < pattern.length; place++) {
    if (pattern[place] === ">") return tokens.length > place;
    if (place >= tokens.length) return false;
    if (pattern[place] !== "*" && pattern[place] !== tokens[place]) return false;
  }
  return pattern.length === tokens.length;
}
function matcherOf(chosen) {
  const plain = /* @__PURE__ */ new Set();
  const beginnings = /* @__PURE__ */ new Set();
  const others = [];
  for (const name of chosen) {
    const begin = name.slice(0, -2);
    if (!isPattern(name)) plain.add(name);
    else if (name.endsWith(".>") && !isPattern(begin)) beginnings.add(begin);
    else others.push(tokensOf(name));
  }
  return (name) => {
    if (plain.has(name)) return true;
    if (beginnings.size) {
      for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
        if (beginnings.has(name.slice(0, dot))) return true;
      }
    }
    return others.length > 0 && others.some((pattern) => covers(pattern, tokensOf(name)));
  };
}
function searchOf(text) {
  const wanted = text.trim();
  if (isPattern(wanted)) return matcherOf([wanted]);
  const lower = wanted.toLowerCase();
  return (name) => name.toLowerCase().includes(lower);
}
function starsOf(wanted, names) {
  const groups = /* @__PURE__ */ new Map();
  for (const name of wanted) {
    const tokens = tokensOf(name);
    const group = groups.get(tokens.length);
    if (!group) {
      groups.set(tokens.length, { pattern: tokens, size: 1 });
      continue;
    }
    group.size += 1;
    tokens.forEach((token, place) => {
      if (group.pattern[place] !== token) group.pattern[place] = "*";
    });
  }
  let covered = 0;
  for (const name of names) {
    const tokens = tokensOf(name);
    const group = groups.get(tokens.length);
    if (group && covers(group.pattern, tokens)) covered += 1;
  }
  if (covered !== wanted.length) return null;
  return [...groups.values()].map(({ pattern }) => pattern.join("."));
}

// src/channels/tree.js
var MANY = 12;
var UNFOLDED = 24;
var { compare } = new Intl.Collator("en", { numeric: true });
var makeNode = (path, label, parent) => ({
  path,
  label,
  parent,
  level: parent ? parent.level + 1 : 0,
  children: [],
  isSorted: false,
  leaf: -1,
  leaves: 0,
  found: 0,
  chosen: 0,
  count: 0,
  rate: 0
});
var Tree = class {
  root = makeNode("", "", null);
  /** @type {Node[]} */
  nodes = [];
  // each after its parent
  /** @type {Node[]} */
  byLeaf = [];
  /** @type {((name: string) => boolean) | null} */
  search = null;
  /** @param {string[]} names */
  constructor(names) {
    this.names = names;
    this.isDeep = names.length > MANY;
    if (this.isDeep) this.#group();
    else this.#list();
    this.#sum("leaves", () => 1);
    this.#sum("found", () => 1);
  }
  #list() {
    this.isDeep = false;
    for (const name of this.names) this.#addLeaf(this.#add(name, name, this.root));
  }
  #group() {
    const byPath = /* @__PURE__ */ new Map();
    for (const name of this.names) {
      let node = this.root;
      for (let begin = 0; begin <= name.length; ) {
        const dot = name.indexOf(".", begin);
        const end = dot < 0 ? name.length : dot;
        const path = name.slice(0, end);
        const known = byPath.get(path);
        node = known ?? this.#add(path, name.slice(begin, end), node);
        if (!known) byPath.set(path, node);
        begin = end + 1;
      }
      this.#addLeaf(node);
    }
    if (this.nodes.some((node) => node.children.length > 1)) return;
    this.root = makeNode("", "", null);
    [this.nodes, this.byLeaf] = [[], []];
    this.#list();
  }
  /**
   * @param {string} path
   * @param {string} label
   * @param {Node} parent
   */
  #add(path, label, parent) {
    const node = makeNode(path, label, parent);
    parent.children.push(node);
    this.nodes.push(node);
    return node;
  }
  /** @param {Node} node */
  #addLeaf(node) {
    node.leaf = this.byLeaf.length;
    this.byLeaf.push(node);
  }
  /**
   * @param {"leaves" | "found" | "chosen" | "count" | "rate"} field
   * @param {(leaf: number) => number} value
   */
  #sum(field, value) {
    this.root[field] = 0;
    for (const node of this.nodes) node[field] = node.leaf < 0 ? 0 : value(node.leaf);
    for (let index = this.nodes.length - 1; index >= 0; index--) {
      const node = this.nodes[index];
      if (node.parent) node.parent[field] += node[field];
    }
  }
  /**
   * @param {number[]} counts
   * @param {(number | null)[]} rates
   */
  setNumbers(counts, rates) {
    this.#sum("count", (leaf) => counts[leaf] ?? 0);
    this.#sum("rate", (leaf) => rates[leaf] ?? 0);
  }
  /** @param {(name: string) => boolean} isChosen */
  setChosen(isChosen) {
    this.#sum("chosen", (leaf) => Number(isChosen(this.names[leaf])));
  }
  /** @param {((name: string) => boolean) | null} search null finds everything */
  find(search) {
    this.search = search;
    this.#sum("found", (leaf) => Number(!search || search(this.names[leaf])));
  }
  /** The nodes to unfold at first: from the top, as long as there are not too many rows. */
  unfoldedAtFirst() {
    const unfolded = /* @__PURE__ */ new Set();
    let level = this.root.children;
    let rows = level.length;
    while (level.length) {
      const next = level.flatMap((node) => node.children);
      rows += next.length;
      if (!next.length || rows > UNFOLDED) break;
      for (const node of level) if (node.children.length) unfolded.add(node.path);
      level = next;
    }
    return unfolded;
  }
  /**
   * The rows, from the top.
   *
   * @param {(node: Node) => boolean} isUnfolded
   */
  rows(isUnfolded) {
    const rows = [];
    const walk = (node) => {
      if (this.isDeep && !node.isSorted) {
        node.children.sort((a, b) => compare(a.label, b.label));
        node.isSorted = true;
      }
      for (const child of node.children) {
        if (!child.found) continue;
        rows.push(child);
        if (child.children.length && isUnfolded(child)) walk(child);
      }
    };
    walk(this.root);
    return rows;
  }
  /**
   * The names at these nodes and below that are found.
   *
   * @param {Iterable<Node>} nodes
   */
  namesAt(nodes) {
    const names = /* @__PURE__ */ new Set();
    const walk = (node) => {
      if (!node.found) return;
      const name = this.names[node.leaf];
      if (node.leaf >= 0 && (!this.search || this.search(name))) names.add(name);
      for (const child of node.children) walk(child);
    };
    for (const node of nodes) walk(node);
    return names;
  }
  /**
   * What says that exactly these names are chosen: few patterns that do not overlap. Everything,
   * which is what no choice means, is [].
   *
   * @param {Set<string>} names
   * @returns {string[]}
   */
  patternsOf(names) {
    const wanted = this.names.filter((name) => names.has(name));
    if (!this.isDeep) return [...names];
    if (wanted.length === this.names.length) return [];
    this.#sum("chosen", (leaf) => Number(names.has(this.names[leaf])));
    const whole = [...this.#whole(this.root.children)];
    if (whole.length < 3) return whole;
    const stars = starsOf(wanted, this.names);
    return stars && stars.length < whole.length ? stars : whole;
  }
  /**
   * @param {Node[]} nodes
   * @returns {Generator<string>}
   */
  *#whole(nodes) {
    for (const node of nodes) {
      if (!node.chosen) continue;
      if (node.chosen === node.leaves && node.leaves > 1) yield* patternsAt(node);
      else {
        if (node.leaf >= 0 && node.chosen > sumOf(node.children)) yield node.path;
        yield* this.#whole(node.children);
      }
    }
  }
};
var sumOf = (nodes) => nodes.reduce((sum, node) => sum + node.chosen, 0);
function patternsAt(node) {
  const own = node.leaf >= 0 ? [node.path] : [];
  return node.children.length ? [...own, `${node.path}.>`] : own;
}

// src/channels/channels.js
var OWN = "varco";
var compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
var short = (value) => value < 1e5 ? grouped(value) : compact.format(value);
var counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
var perSecond = (rate) => `${rate.toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 })}/s`;
var ChannelsView = class {
  tree = new Tree([]);
  /** @type {Set<string>} */
  unfolded = /* @__PURE__ */ new Set();
  /** @type {Set<string>} */
  folded = /* @__PURE__ */ new Set();
  // of what is found
  text = "";
  // that is searched for
  stream = "";
  anchor = "";
  // where a range begins
  grown = "";
  // the stream that the tree is of
  hasNames = false;
  // whether Python has sent others
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
      }
    });
    this.streams.node.classList.add("varco-streams");
    this.streams.node.setAttribute("role", "listbox");
    this.search = element("input", "", { type: "search", ...OWN_KEYS });
    this.search.title = "A part of the name; or * for any one part, > for all that follow: dev.*.temp";
    this.search.addEventListener("input", () => this.#find(this.search.value));
    this.search.addEventListener("keydown", (event) => this.#onSearchKey(event));
    this.list = new List({
      label: "Channels",
      role: "option",
      keyOf: (node) => node.path,
      make: () => makeRow(this.tree.isDeep),
      fill: (node, row) => this.#fill(node, row),
      onClick: (row, event) => this.#onClick(row, event),
      onKey: (row, event) => this.#onKey(row, event)
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
      "change:chosen": () => this.#draw()
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
    const [label, what, number] = (
      /** @type {HTMLElement[]} */
      [...node.children]
    );
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
    const [twist, box, label, rate, count] = (
      /** @type {HTMLElement[]} */
      [...node.children]
    );
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
    if (!chosen.length) return /* @__PURE__ */ new Set();
    const matches = matcherOf(chosen);
    const names = this.tree.names.filter(matches);
    if (this.tree.isDeep) return new Set(names);
    return /* @__PURE__ */ new Set([...chosen.filter((name) => names.includes(name)), ...names]);
  }
  /**
   * @param {Node} row
   * @param {MouseEvent} event
   */
  #onClick(row, event) {
    const target = (
      /** @type {HTMLElement} */
      event.target
    );
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
};
function makeStream() {
  const node = element("div", "varco-stream");
  node.append(
    element("span", "varco-stream-name"),
    element("span", "varco-stream-number"),
    element("span", "varco-stream-number")
  );
  return node;
}
function makeRow(isDeep) {
  const node = element("div", `varco-channel ${isDeep ? "varco-in-tree" : "varco-in-list"}`);
  node.append(
    element("span", "varco-channel-twist", { "aria-hidden": "true" }),
    element("span", "varco-channel-box", { "aria-hidden": "true", title: "Show with others" }),
    element("span", "varco-channel-name"),
    element("span", "varco-channel-rate"),
    element("span", "varco-channel-count")
  );
  return node;
}
var channels_default = widgetOf(ChannelsView);
export {
  channels_default as default
};

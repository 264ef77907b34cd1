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
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = (
      /** @type {HTMLElement | null} */
      document.activeElement
    );
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

// src/common/model.js
function listen(model, handlers) {
  const pairs = Object.entries(handlers);
  for (const [event, handler] of pairs) model.on(event, handler);
  return () => {
    for (const [event, handler] of pairs) model.off(event, handler);
  };
}
function onChange(names, handler) {
  return Object.fromEntries(names.map((name) => [`change:${name}`, handler]));
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

// src/table/arrange.js
var hide = (arrangement, name) => ({
  ...without(arrangement, "pinned", name),
  hidden: [...arrangement.hidden ?? [], name]
});
var unhide = (arrangement, name) => without(arrangement, "hidden", name);
function pin(arrangement, name, isPinned) {
  const others = without(arrangement, "pinned", name);
  return isPinned ? { ...others, pinned: [...others.pinned ?? [], name] } : others;
}
function move(arrangement, names, pinned, from, to) {
  const isPinned = from < pinned;
  const place = isPinned ? clamp(to, 0, pinned - 1) : clamp(to, pinned, names.length - 1);
  const moved = [...names];
  moved.splice(place, 0, ...moved.splice(from, 1));
  if (isPinned) return { ...arrangement, pinned: moved.slice(0, pinned) };
  const rest = (arrangement.order ?? []).filter((name) => !moved.includes(name));
  return { ...arrangement, order: [...moved, ...rest] };
}
var widen = (arrangement, name, width) => ({
  ...arrangement,
  widths: { ...arrangement.widths, [name]: width }
});
var without = (arrangement, list, name) => ({
  ...arrangement,
  [list]: (arrangement[list] ?? []).filter((other) => other !== name)
});

// src/table/cells.js
var TIME = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)Z$/;
function textOf(value, day) {
  const text = wholeOf(value);
  const found = day === void 0 ? null : TIME.exec(text);
  if (!found) return text;
  const [, date, time] = found;
  return day ? time : `${date} ${time.slice(0, 8)}`;
}
var wholeOf = (value) => typeof value === "string" ? value : value[0];
function hasText(value, needle, isTime) {
  const text = wholeOf(value);
  return (isTime ? text.replace("T", " ") : text).toLowerCase().includes(needle);
}

// src/table/choices.js
function choicesOfColumn(about, { sort, move: move2, hide: hide2, arrange }) {
  const { name, isIndex, isPinned, isFirst, isLast, hidden, arrangement } = about;
  const isArranged = Object.values(arrangement).some((value) => Object.keys(value).length);
  return [
    [
      { label: "Sort from the lowest", run: () => sort(name, false) },
      { label: "Sort from the highest", run: () => sort(name, true) },
      { label: "In order of arrival", run: () => sort("", false) }
    ],
    isIndex ? [] : [
      { label: "Move to the left", run: () => move2(-1), isDisabled: isFirst },
      { label: "Move to the right", run: () => move2(1), isDisabled: isLast },
      {
        label: isPinned ? "Unpin" : "Pin to the left",
        run: () => arrange(pin(arrangement, name, !isPinned))
      },
      { label: "Hide", run: hide2 }
    ],
    [
      ...hidden.map((other) => ({
        label: `Show ${other}`,
        run: () => arrange(unhide(arrangement, other))
      })),
      {
        label: "All columns as they were",
        run: () => arrange({}),
        isDisabled: !isArranged && !arrangement.show_empty
      }
    ]
  ];
}
function choicesOfValue(canFilter, { pick, copyValue, copyRows, find, open }) {
  return [
    canFilter ? [
      { label: "Only rows with this value", run: () => pick(false) },
      { label: "No rows with this value", run: () => pick(true) }
    ] : [],
    [
      { label: "Copy this value", run: copyValue },
      { label: "Copy the selected rows", run: copyRows },
      { label: "Find in these rows …", run: find }
    ],
    [{ label: "Open this row", run: open }]
  ];
}

// src/table/columns.js
var SHARE = 0.6;
var FONT = 13;
var Columns = class {
  /** @type {Column[]} */
  list = [];
  pinned = 0;
  // how many stay in sight, besides the index
  /** @type {Record<string, string>} */
  days = {};
  // the day that all times of a column are of, or ""
  offsets = [0];
  // of each column, and of the end
  scale = 1;
  // of the font
  /** @type {Map<string, number>} */
  #fitting = /* @__PURE__ */ new Map();
  // widths by name, once known
  /** @type {Record<string, number>} */
  #chosen = {};
  // by the user
  get count() {
    return this.list.length;
  }
  get width() {
    return this.offsets[this.count];
  }
  get names() {
    return this.list.slice(1).map(([name]) => name);
  }
  /** @param {number} column */
  name(column) {
    return this.list[column][0];
  }
  /** @param {number} column */
  isNumber(column) {
    return column > 0 && this.list[column][1];
  }
  /** @param {number} column */
  isPinned(column) {
    return column > 0 && column <= this.pinned;
  }
  /** @param {number} column */
  widthOf(column) {
    return this.offsets[column + 1] - this.offsets[column];
  }
  /**
   * @param {Column[]} list
   * @param {number} pinned
   * @param {Record<string, string>} days
   */
  set(list, pinned, days) {
    for (const [name] of list) if (days[name] !== this.days[name]) this.#fitting.delete(name);
    this.list = list;
    this.pinned = pinned;
    this.days = days;
    this.#place();
  }
  /** @param {Record<string, number>} widths */
  choose(widths) {
    this.#chosen = widths;
    this.#place();
  }
  /** @param {number} size of the font, in pixels */
  setFont(size) {
    if (this.scale === size / FONT) return;
    this.scale = size / FONT;
    this.#fitting.clear();
    this.#place();
  }
  /**
   * @param {number} column
   * @param {number} width
   */
  resize(column, width) {
    this.choose({ ...this.#chosen, [this.name(column)]: Math.round(clamp(width, 40, 2e3)) });
  }
  /**
   * Gives columns that have no width yet one that fits the first rows that came in; returns whether
   * there were such columns.
   *
   * @param {import("./rows.js").Rows} rows
   * @param {() => (text: string) => number} ruler gives what measures texts
   */
  fit(rows, ruler) {
    const sample = rows.sample();
    const places = this.list.map(([name], column) => [name, rows.place(column)]);
    const unset = places.filter(([name, cell]) => !this.#fitting.has(name) && cell >= 0).filter(([, cell]) => sample.some(({ cells }) => cells[cell]));
    if (!unset.length) return false;
    const measure = ruler();
    for (const [name, cell] of unset) {
      const texts = sample.map(({ cells }) => textOf(cells[cell] ?? "", this.days[name]));
      const widest = Math.max(...texts.map(measure)) + 26 * this.scale;
      this.#fitting.set(name, Math.ceil(clamp(widest, this.#guess(name), 340 * this.scale)));
    }
    this.#place();
    return true;
  }
  /**
   * How many columns stay in sight where this much room is: the index, and pinned ones.
   *
   * @param {number} width
   */
  fixed(width) {
    let count = Math.min(1 + this.pinned, this.count);
    while (count > 1 && this.offsets[count] > SHARE * width) count--;
    return count;
  }
  /**
   * The columns in sight besides those that stay there, from the first to before the second.
   *
   * @param {number} scrolled
   * @param {number} width
   * @returns {[number, number]}
   */
  inSight(scrolled, width) {
    const fixed = this.fixed(width);
    const [left, right] = [scrolled + this.offsets[fixed], scrolled + width];
    let from = fixed;
    while (from < this.count - 1 && this.offsets[from + 1] <= left) from++;
    let to = from;
    while (to < this.count && this.offsets[to] < right) to++;
    return [from, to];
  }
  /**
   * The column at a place, from the left of the table.
   *
   * @param {number} x in pixels, scrolled along where it does not stay in sight
   */
  at(x) {
    let column = 0;
    while (column < this.count - 1 && this.offsets[column + 1] <= x) column++;
    return column;
  }
  /**
   * How far to scroll so that a column is in sight.
   *
   * @param {number} column
   * @param {number} scrolled
   * @param {number} width
   */
  scrollTo(column, scrolled, width) {
    const fixed = this.fixed(width);
    if (column < fixed) return scrolled;
    const [left, right] = [this.offsets[column], this.offsets[column + 1]];
    if (left < scrolled + this.offsets[fixed]) return left - this.offsets[fixed];
    return right > scrolled + width ? right - width : scrolled;
  }
  #place() {
    this.offsets = [0];
    for (const [name] of this.list) {
      const width = this.#chosen[name] ?? this.#fitting.get(name) ?? this.#guess(name);
      this.offsets.push(this.offsets[this.offsets.length - 1] + width);
    }
  }
  /** @param {string} name */
  #guess(name) {
    return Math.round(clamp(name.length * 8 + 40, 60, 240) * this.scale);
  }
};

// src/table/exchange.js
var PATIENCE = 5e3;
var Exchange = class {
  #requests = 0;
  #rows = "";
  // the request for rows that waits for its answer
  #copy = "";
  #cell = "";
  #find = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /**
   * @param {import("../common/model.js").Model<import("./table.js").State>} model
   * @param {string} uid of the view
   * @param {() => void} onSilence called when a request for rows got no answer
   */
  constructor(model, uid, onSilence) {
    this.model = model;
    this.uid = uid;
    this.onSilence = onSilence;
  }
  get isWaiting() {
    return this.#rows !== "";
  }
  /** @param {Record<string, unknown>} wanted */
  askRows(wanted) {
    this.#rows = this.#next();
    this.#timer = setTimeout(() => {
      this.#rows = "";
      this.onSilence();
    }, PATIENCE);
    this.model.send({ type: "window", request: this.#rows, ...wanted });
  }
  /** For the selected rows as text. */
  askCopy() {
    this.#copy = this.#next();
    this.model.send({ type: "copy", request: this.#copy });
  }
  /**
   * For more of a cell than it shows.
   *
   * @param {import("./rows.js").Id} id
   * @param {string} column
   */
  askCell(id, column) {
    this.#cell = this.#next();
    this.model.send({ type: "cell", request: this.#cell, id, column });
  }
  /**
   * For the places that have a text.
   *
   * @param {string} text
   */
  askFind(text) {
    this.#find = this.#next();
    this.model.send({ type: "find", request: this.#find, text });
  }
  /** Waits for rows no more. */
  forget() {
    this.#rows = "";
    clearTimeout(this.#timer);
  }
  /**
   * Whether a message is the answer that is waited for.
   *
   * @param {{type: string, request: string}} message
   */
  isAnswer({ type, request }) {
    if (type === "copied" && request === this.#copy) {
      this.#copy = "";
      return true;
    }
    if (type === "cell") return request === this.#cell;
    if (type === "found") return request === this.#find;
    if (type !== "rows" || request !== this.#rows) return false;
    this.forget();
    return true;
  }
  #next() {
    return `${this.uid}-${++this.#requests}`;
  }
};

// src/table/find.js
var DELAY = 150;
var Find = class {
  needle = "";
  // in lower case, while it is open
  /** @type {Place[]} */
  places = [];
  total = 0;
  #at = -1;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /**
   * @param {object} actions
   * @param {(text: string) => void} actions.ask
   * @param {(place: Place) => void} actions.go
   * @param {() => void} actions.onClose
   */
  constructor({ ask, go, onClose }) {
    this.ask = ask;
    this.go = go;
    this.onClose = onClose;
    this.node = element("div", "varco-find", { role: "search", ...OWN_KEYS });
    this.field = element("input", "", { type: "text", "aria-label": "Find in these rows" });
    this.field.placeholder = "Find in these rows";
    this.count = element("span", "", { role: "status" });
    this.node.append(
      this.field,
      button("‹", () => this.step(-1), { "aria-label": "Previous place", title: "Previous place" }),
      button("›", () => this.step(1), { "aria-label": "Next place", title: "Next place" }),
      this.count,
      button("✕", () => this.close(), { "aria-label": "Close the search" })
    );
    this.node.hidden = true;
    this.field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.search(), DELAY);
    });
    this.node.addEventListener("keydown", (event) => this.#onKey(event));
  }
  get isOpen() {
    return !this.node.hidden;
  }
  open() {
    this.node.hidden = false;
    this.field.focus();
    this.field.select();
    this.search();
  }
  close() {
    this.dispose();
    this.node.hidden = true;
    this.needle = "";
    this.onClose();
  }
  /** Looks for what is in the field, also after the rows have changed. */
  search() {
    clearTimeout(this.#timer);
    this.#timer = void 0;
    this.needle = this.field.value.toLowerCase();
    if (this.needle) this.ask(this.field.value);
    else this.#tell(" ");
  }
  /**
   * Takes the places that have the text.
   *
   * @param {Place[]} places
   * @param {number} total
   */
  found(places, total) {
    this.places = places;
    this.total = total;
    this.#at = -1;
    if (places.length) this.step(1);
    else this.#tell("not in these rows");
  }
  /** @param {number} by */
  step(by) {
    if (this.#timer)
      this.search();
    else if (this.places.length && this.needle) {
      this.#at = (this.#at + by + this.places.length) % this.places.length;
      this.#tell(`${grouped(this.#at + 1)} of ${grouped(this.total)}`);
      this.go(this.places[this.#at]);
    }
  }
  dispose() {
    clearTimeout(this.#timer);
    this.#timer = void 0;
  }
  /** @param {string} text */
  #tell(text) {
    setText(this.count, text);
  }
  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const isAgain = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "f";
    event.stopPropagation();
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && event.target === this.field)
      this.step(event.shiftKey ? -1 : 1);
    else if (isAgain) this.field.select();
    else return;
    event.preventDefault();
  }
};

// src/table/follow.js
var Follow = class {
  #canResume = false;
  // scrolling back to the newest row turns it on again
  #isOwnChange = false;
  /**
   * @param {import("../common/model.js").Model<import("./table.js").State>} model
   * @param {import("./rows.js").Rows} rows
   * @param {import("./viewport.js").Viewport} viewport
   */
  constructor(model, rows, viewport) {
    this.model = model;
    this.rows = rows;
    this.viewport = viewport;
  }
  /** Whether it does; a sorted table has no newest row. */
  get isOn() {
    return this.model.get("follow") && !this.rows.extent.sorted;
  }
  /** Whether to offer to follow again. */
  get isOffered() {
    return this.#canResume && !this.model.get("follow") && !this.rows.extent.sorted;
  }
  /** @param {boolean} follow */
  set(follow) {
    this.#canResume = !follow;
    this.#isOwnChange = true;
    save(this.model, { follow });
    this.#isOwnChange = false;
  }
  onChange() {
    if (!this.#isOwnChange) this.#canResume = false;
    if (this.model.get("follow")) this.toNewest();
  }
  toNewest() {
    this.viewport.moveTo(this.rows.newestFirst ? 0 : Infinity);
  }
  /** Follows or not, after the user has gone to another place. */
  notice() {
    if (this.rows.extent.sorted) return;
    const { top, lastTop } = this.viewport;
    const isAtNewest = this.rows.newestFirst ? top < 0.5 : top > lastTop - 0.5;
    const follow = this.model.get("follow");
    if (follow && !isAtNewest) this.set(false);
    else if (!follow && isAtNewest && this.#canResume) this.set(true);
  }
  /** @param {WheelEvent} event */
  onWheel(event) {
    if (event.ctrlKey || event.shiftKey || !this.isOn) return;
    const isAway = this.rows.newestFirst ? event.deltaY > 0 : event.deltaY < 0;
    if (isAway && this.viewport.lastTop > 0) this.set(false);
  }
};

// src/table/words.js
function wordsOf({ total, selected, sortBy, isDescending, isPage, days, note }) {
  const parts = [`${grouped(total)} ${total === 1 ? "row" : "rows"}`];
  if (selected) parts.push(`${grouped(selected)} selected`);
  if (sortBy) {
    const order = isDescending ? "from the highest" : "from the lowest";
    parts.push(`${isPage ? "this page sorted" : "sorted"} by ${sortBy}, ${order}`);
  }
  const named = Object.entries(days).filter(([, day]) => day);
  const distinct = new Set(named.map(([, day]) => day));
  if (distinct.size === 1) parts.push(`times of ${named[0][1]}, UTC`);
  else parts.push(...named.map(([name, day]) => `${name} of ${day}, UTC`));
  if (note) parts.push(note);
  return parts.join(" · ");
}
var counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;

// src/table/foot.js
var Foot = class {
  /**
   * @param {object} actions
   * @param {() => void} actions.onNewest
   * @param {() => void} actions.onEmpty shows columns without a value, or hides them again
   * @param {() => void} actions.onHidden shows the columns that were hidden
   */
  constructor({ onNewest, onEmpty, onHidden }) {
    this.node = element("div", "varco-foot");
    this.count = element("span", "varco-count");
    this.empty = button("", onEmpty);
    this.hidden = button("", onHidden);
    this.newest = button("Follow newest", onNewest, { class: "varco-newest" });
    this.node.append(this.count, this.empty, this.hidden, this.newest);
  }
  /**
   * @param {import("./words.js").Said} said
   * @param {string[]} empty columns without a value
   * @param {boolean} areEmptyShown
   * @param {string[]} hidden columns that the user hid
   */
  draw(said, empty, areEmptyShown, hidden) {
    setText(this.count, wordsOf(said));
    const columns = counted(empty.length, "empty column");
    this.empty.title = `${areEmptyShown ? "Hide" : "Show"} ${empty.join(", ")}`;
    showText(this.empty, empty.length ? `${columns} ${areEmptyShown ? "shown" : "hidden"}` : "");
    this.hidden.title = `Show ${hidden.join(", ")}`;
    showText(this.hidden, hidden.length ? `${counted(hidden.length, "column")} hidden by you` : "");
  }
};

// src/table/keys.js
var WITH_CONTROL = { c: "copy", a: "selectAll", f: "find" };
var IN_HEAD_WITH_CONTROL = { ArrowLeft: "moveLeft", ArrowRight: "moveRight" };
var IN_HEAD = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowDown: "leaveHead",
  Escape: "leaveHead",
  Enter: "sort",
  " ": "sort"
};
var IN_HEAD_WITH_SHIFT = { ...IN_HEAD, ArrowLeft: "narrower", ArrowRight: "wider" };
var IN_BODY = {
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
  " ": "toggle"
};
var hasControl = ({ ctrlKey, metaKey }) => ctrlKey || metaKey;
function commandOf(key, inHead) {
  if (key.altKey) return void 0;
  if (key.key === "ContextMenu" || key.key === "F10" && key.shiftKey) return "menu";
  if (hasControl(key) && key.key.length === 1) return WITH_CONTROL[key.key.toLowerCase()];
  if (hasControl(key) && inHead && IN_HEAD_WITH_CONTROL[key.key]) {
    return IN_HEAD_WITH_CONTROL[key.key];
  }
  if (!inHead) return IN_BODY[key.key];
  return (key.shiftKey ? IN_HEAD_WITH_SHIFT : IN_HEAD)[key.key];
}

// src/table/menu.js
var Menu = class {
  /** @param {() => void} onClose called when it is closed by a key or a choice */
  constructor(onClose) {
    this.onClose = onClose;
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
      { role: "menuitem", tabindex: "-1" }
    );
    made.disabled = isDisabled;
    return made;
  }
  get #items() {
    return (
      /** @type {HTMLButtonElement[]} */
      [
        ...this.node.querySelectorAll("button:not(:disabled)")
      ]
    );
  }
  /** @param {KeyboardEvent} event */
  #onKey(event) {
    event.stopPropagation();
    const items = this.#items;
    const at = items.indexOf(
      /** @type {HTMLButtonElement} */
      document.activeElement
    );
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
};

// src/table/rows.js
var KEPT = 3e3;
var ALL_COLUMNS = 60;
var Rows = class {
  /** @type {Extent} */
  extent = { base: 0, total: 0, sorted: false, generation: -1, keys: -1 };
  isNewestFirst = false;
  // unless it is sorted
  isStale = false;
  // the positions of rows may have changed; they are shown until they are renewed
  /** @type {[number, number]} */
  span = [0, ALL_COLUMNS];
  // the columns that cells have, besides the index and the pinned ones
  pinned = 0;
  // columns that all cells have, besides the index
  /** @type {Map<number, Row>} */
  #known = /* @__PURE__ */ new Map();
  get total() {
    return this.extent.total;
  }
  get newestFirst() {
    return this.isNewestFirst && !this.extent.sorted;
  }
  /** @param {number} position */
  keyAt(position) {
    const { base, total } = this.extent;
    return this.newestFirst ? base + total - 1 - position : base + position;
  }
  /**
   * The position of a row; the first one if there is no key.
   *
   * @param {number | null} key
   */
  positionOf(key) {
    const { base, total } = this.extent;
    if (key === null) return 0;
    return clamp(this.newestFirst ? base + total - 1 - key : key - base, 0, total - 1);
  }
  /** @param {number | null} key */
  get(key) {
    return key === null ? void 0 : this.#known.get(key);
  }
  /**
   * The key that a row has now that was drawn with this key and id; null if it is not known.
   *
   * @param {{key: number, id: Id | undefined}} drawn
   */
  keyOf({ key, id }) {
    if (id === void 0 || this.#known.get(key)?.id === id) return key;
    for (const [other, row] of this.#known) if (row.id === id) return other;
    return null;
  }
  /**
   * Where the cells of a row have a column; -1 where they do not.
   *
   * @param {number} column 0 is the index
   */
  place(column) {
    if (column <= this.pinned) return column;
    const place = column - this.span[0];
    return place > this.pinned ? place : -1;
  }
  /** Some of the rows, as a sample. */
  sample() {
    return [...this.#known.values()].slice(0, 50);
  }
  /**
   * The ids of the rows from one key to another, where all of them are known.
   *
   * @param {number} first
   * @param {number} last
   */
  ids(first, last) {
    if (last - first >= KEPT) return null;
    const ids = [];
    for (let key = first; key <= last; key++) {
      const known = this.#known.get(key);
      if (!known) return null;
      ids.push(known.id);
    }
    return ids;
  }
  /** @param {Part} part */
  remember({ start, ids, rows }) {
    rows.forEach((cells, index) => {
      this.#known.delete(start + index);
      this.#known.set(start + index, { id: ids[index], cells });
    });
    for (const key of this.#known.keys()) {
      if (this.#known.size <= KEPT) break;
      this.#known.delete(key);
    }
  }
  forget() {
    this.#known.clear();
  }
  /**
   * What to ask Python for, so that the rows and columns in sight are known; null if they are.
   *
   * @param {number} first position in sight
   * @param {number} count
   * @param {number} from column in sight, the index and the pinned ones not counted
   * @param {number} to column after the last in sight
   * @param {number} columns how many there are, without these
   */
  missing(first, count, from, to, columns) {
    const isWide = columns > ALL_COLUMNS;
    if (isWide && (from < this.span[0] || to > this.span[1])) {
      const start2 = clamp(from - 20, 0, columns - ALL_COLUMNS);
      this.span = [start2, Math.max(start2 + ALL_COLUMNS, to)];
      this.forget();
    }
    let [low, high] = [first, first + count - 1];
    if (!this.isStale) {
      while (low <= high && this.#known.has(this.keyAt(low))) low++;
      while (high >= low && this.#known.has(this.keyAt(high))) high--;
      if (low > high) return null;
    }
    this.isStale = false;
    const margin = isWide ? 20 : 60;
    const keys = [
      this.keyAt(Math.max(0, low - margin)),
      this.keyAt(Math.min(this.total - 1, high + margin))
    ];
    const start = Math.min(...keys);
    return { start, count: Math.max(...keys) - start + 1, span: this.span };
  }
};

// src/table/selection.js
var DELAY2 = 60;
var Selection = class {
  /** @type {Set<Id>} */
  ids = /* @__PURE__ */ new Set();
  /** @type {number | null} */
  active = null;
  // key of a row; null is the first one
  /** @type {number | null} */
  anchor = null;
  // key from which Shift extends
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /**
   * @param {import("../common/model.js").Model<import("./table.js").State>} model
   * @param {import("./rows.js").Rows} rows
   * @param {() => void} onChange
   */
  constructor(model, rows, onChange2) {
    this.model = model;
    this.rows = rows;
    this.onChange = onChange2;
    this.ids = new Set(model.get("selected"));
  }
  /** Takes Python's selection, unless a newer one is about to be sent. */
  read() {
    if (this.#timer) return;
    this.ids = new Set(this.model.get("selected"));
    this.onChange();
  }
  /** Keys mean other rows from now on. */
  reset() {
    this.active = this.anchor = null;
  }
  /** Selects the active row alone. */
  selectActive() {
    this.anchor = this.active;
    this.extend();
  }
  /** Selects from the anchor to the active row. */
  extend() {
    this.anchor ??= this.active;
    if (this.anchor !== null && this.active !== null) this.selectKeys(this.anchor, this.active);
  }
  toggle() {
    if (this.active === null && this.rows.total) this.active = this.rows.keyAt(0);
    const known = this.rows.get(this.active);
    if (!known) return;
    this.anchor = this.active;
    const ids = new Set(this.ids);
    if (!ids.delete(known.id)) ids.add(known.id);
    this.select([...ids]);
  }
  selectAll() {
    this.selectKeys(this.rows.keyAt(0), this.rows.keyAt(this.rows.total - 1));
  }
  /**
   * Selects rows at once where all of them are known; Python knows the others.
   *
   * @param {number} start
   * @param {number} end
   */
  selectKeys(start, end) {
    if (this.rows.total === 0) return;
    const [first, last] = [Math.min(start, end), Math.max(start, end)];
    const ids = this.rows.ids(first, last);
    if (ids) {
      this.select(this.rows.newestFirst ? ids.reverse() : ids);
      return;
    }
    this.dispose();
    const { generation } = this.rows.extent;
    this.model.send({ type: "select", start: first, stop: last + 1, generation });
  }
  /** @param {Id[]} ids */
  select(ids) {
    this.ids = new Set(ids);
    this.onChange();
    this.dispose();
    const known = this.model.get("selected");
    if (ids.length === known.length && ids.every((id, index) => id === known[index])) return;
    this.#timer = setTimeout(() => this.flush(), DELAY2);
  }
  /** Tells Python now what it does not know yet. */
  flush() {
    if (!this.#timer) return;
    this.dispose();
    save(this.model, { selected: [...this.ids] });
  }
  dispose() {
    clearTimeout(this.#timer);
    this.#timer = void 0;
  }
};

// src/table/sheet.js
var FONT2 = 13;
var IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/;
var ROW = 24;
var sheets = 0;
var Sheet = class {
  uid = `varco-table-${++sheets}-${Math.random().toString(36).slice(2, 8)}`;
  width = 0;
  // of what is seen, in pixels
  expected = 0;
  // where the scroll bar was put
  column = 0;
  // of the active cell; 0 is the index
  inHead = false;
  // whether the active cell is
  needle = "";
  // the text that is looked for, in lower case
  #fixed = 1;
  // columns that stay in sight, the index included
  /** @type {Line[]} */
  lines = [];
  /**
   * @param {import("./rows.js").Rows} rows
   * @param {import("./columns.js").Columns} columns
   * @param {import("./viewport.js").Viewport} viewport
   */
  constructor(rows, columns, viewport) {
    this.rows = rows;
    this.columns = columns;
    this.viewport = viewport;
    this.grid = element("div", "varco-grid", {
      role: "grid",
      tabindex: "0",
      "aria-multiselectable": "true",
      "aria-readonly": "true",
      ...OWN_KEYS
    });
    this.space = element("div", "varco-space", { role: "presentation" });
    this.sheet = element("div", "varco-sheet", { role: "presentation" });
    this.head = makeLine("varco-head");
    this.head.node.setAttribute("aria-rowindex", "1");
    this.body = element("div", "varco-body", { role: "rowgroup" });
    this.sheet.append(this.head.node, this.body);
    this.space.append(this.sheet);
    this.grid.append(this.space);
  }
  /** What measures texts as cells show them. */
  ruler() {
    const ink = (
      /** @type {CanvasRenderingContext2D} */
      document.createElement("canvas").getContext("2d")
    );
    const { fontSize, fontFamily } = getComputedStyle(this.body);
    ink.font = `${fontSize} ${fontFamily}`;
    return (text) => ink.measureText(text).width;
  }
  /**
   * Takes the room that rows and columns need.
   *
   * @param {number} height in pixels at most
   */
  size(height) {
    const { grid, viewport } = this;
    const { width } = this.columns;
    const scale = Number.parseFloat(getComputedStyle(this.body).fontSize) / FONT2;
    const row = Math.round(ROW * scale);
    if (viewport.row !== row) viewport.isMoved = true;
    viewport.row = row;
    setStyle(grid, "lineHeight", `${row}px`);
    const bar = grid.offsetHeight - grid.clientHeight;
    const wanted = Math.min(Math.round(height * scale), Math.max(viewport.space, 3 * row) + bar);
    setStyle(grid, "height", `${wanted}px`);
    setStyle(this.space, "height", `${viewport.space}px`);
    setStyle(this.space, "width", `${width}px`);
    viewport.height = grid.clientHeight;
    this.width = grid.clientWidth;
    setStyle(this.sheet, "height", `${Math.min(viewport.height, viewport.space)}px`);
    setStyle(this.sheet, "width", `${Math.max(width, this.width)}px`);
    viewport.stayInside();
    if (!viewport.isMoved) return;
    viewport.isMoved = false;
    grid.scrollTop = viewport.scroll;
    this.expected = grid.scrollTop;
  }
  /**
   * Draws the rows in sight.
   *
   * @param {import("./selection.js").Selection} selection
   * @param {string} sortBy
   * @param {boolean} isDescending
   */
  draw(selection, sortBy, isDescending) {
    const { first, count } = this.viewport.inSight();
    const [from, to] = this.columns.inSight(this.grid.scrollLeft, this.width);
    this.#fix(this.columns.fixed(this.width));
    this.#drawHead(from, to, sortBy, isDescending ? "descending" : "ascending");
    while (this.lines.length < count) this.lines.push(this.#addLine());
    while (this.lines.length > count) this.lines.pop()?.node.remove();
    const active = this.inHead ? -1 : this.rows.positionOf(selection.active);
    this.lines.forEach((line, index) => {
      this.#drawLine(line, first + index, from, to, active, selection.ids);
    });
    const isShown = this.inHead || active >= first && active < first + count;
    this.body.style.transform = `translateY(${Math.round((first - this.viewport.top) * this.viewport.row)}px)`;
    this.grid.setAttribute("aria-rowcount", String(this.rows.total + 1));
    this.grid.setAttribute("aria-colcount", String(this.columns.count));
    this.grid.setAttribute("aria-activedescendant", isShown ? `${this.uid}-active` : "");
    return { first, count, from, to };
  }
  /** @param {number} column */
  activate(column) {
    this.column = clamp(column, 0, this.columns.count - 1);
    this.grid.scrollLeft = this.columns.scrollTo(this.column, this.grid.scrollLeft, this.width);
  }
  /**
   * The row and the cells that an event of the mouse is about.
   *
   * @param {MouseEvent} event
   */
  under(event) {
    return this.around(
      /** @type {Element} */
      event.target
    );
  }
  /** @param {Element} target */
  around(target) {
    const cell = target.closest(".varco-cell");
    const row = target.closest(".varco-body > .varco-row");
    const line = this.lines.find(({ node }) => node === row);
    return {
      line,
      cell: line?.cells.find(({ node }) => node === cell),
      head: this.head.cells.find(({ node }) => node === cell),
      isGrip: target.closest(".varco-grip") !== null
    };
  }
  /**
   * Has this many columns stay in sight.
   *
   * @param {number} count
   */
  #fix(count) {
    if (this.#fixed === count) return;
    this.#fixed = count;
    for (const { cells } of [this.head, ...this.lines]) {
      for (const { node } of cells.splice(0)) node.remove();
    }
  }
  /**
   * How far to the right of the first column something is, scrolled along.
   *
   * @param {MouseEvent} event
   */
  xOf(event) {
    const x = event.clientX - this.grid.getBoundingClientRect().left;
    return x < this.columns.offsets[this.#fixed] ? x : x + this.grid.scrollLeft;
  }
  /**
   * The active cell, if it is drawn.
   *
   * @param {number} position of the active row
   */
  cellAt(position) {
    const line = this.inHead ? this.head : this.lines.find((each) => each.position === position);
    return line?.cells.find(({ column }) => column === this.column);
  }
  #addLine() {
    const line = makeLine("");
    this.body.append(line.node);
    return line;
  }
  /**
   * Exactly the cells that stay in sight and those of `from` to before `to`, reused from the last
   * time.
   *
   * @param {Line} line
   * @param {number} from
   * @param {number} to
   * @param {() => HTMLElement[]} make gives a cell, and what is in it has the text, if anything is
   */
  #prepare({ node, gap, cells }, from, to, make) {
    const { columns } = this;
    const fixed = this.#fixed;
    const wanted = fixed + to - from;
    while (cells.length < wanted) {
      const [made, label] = make();
      if (cells.length < fixed) gap.before(made);
      else node.append(made);
      cells.push({ node: made, label, column: -1, list: null, isActive: false, isFound: false });
    }
    while (cells.length > wanted) cells.pop()?.node.remove();
    setStyle(gap, "width", `${columns.offsets[from] - columns.offsets[fixed]}px`);
    setStyle(node, "width", this.sheet.style.width);
    cells.forEach((cell, index) => {
      const column = index < fixed ? index : from + index - fixed;
      setStyle(cell.node, "width", `${columns.widthOf(column)}px`);
      if (column < fixed) setStyle(cell.node, "left", `${columns.offsets[column]}px`);
      if (cell.column === column && cell.list === columns.list) return;
      cell.column = column;
      cell.list = columns.list;
      cell.node.classList.toggle("varco-first", column === 0);
      cell.node.classList.toggle("varco-fixed", column < fixed);
      cell.node.classList.toggle("varco-number", columns.isNumber(column));
      cell.node.setAttribute("aria-colindex", String(column + 1));
    });
  }
  /**
   * @param {Cell} cell
   * @param {boolean} isActive
   */
  #mark(cell, isActive) {
    if (cell.isActive === isActive) return;
    cell.isActive = isActive;
    cell.node.classList.toggle("varco-active", isActive);
    if (isActive) cell.node.id = `${this.uid}-active`;
    else cell.node.removeAttribute("id");
  }
  /**
   * @param {number} from
   * @param {number} to
   * @param {string} sortBy
   * @param {string} direction
   */
  #drawHead(from, to, sortBy, direction) {
    this.#prepare(this.head, from, to, () => {
      const node = element("div", "varco-cell", { role: "columnheader" });
      const label = element("span");
      node.append(label, element("div", "varco-grip", { role: "presentation" }));
      return [node, label];
    });
    for (const cell of this.head.cells) {
      const name = this.columns.name(cell.column);
      if (cell.node.title !== name) cell.label.textContent = cell.node.title = name;
      setAttribute(cell.node, "aria-sort", sortBy && sortBy === name ? direction : "none");
      this.#mark(cell, this.inHead && cell.column === this.column);
    }
  }
  /**
   * @param {Line} line
   * @param {number} position
   * @param {number} from
   * @param {number} to
   * @param {number} active
   * @param {Set<import("./rows.js").Id>} selected
   */
  #drawLine(line, position, from, to, active, selected) {
    const { rows } = this;
    const key = rows.keyAt(position);
    const known = rows.get(key);
    this.#prepare(line, from, to, () => {
      const node = element("div", "varco-cell", { role: "gridcell" });
      const label = element("span");
      node.append(label);
      return [node, label];
    });
    Object.assign(line, { position, key, id: known?.id });
    setAttribute(line.node, "aria-rowindex", String(position + 2));
    setAttribute(line.node, "aria-selected", String(!!known && selected.has(known.id)));
    line.node.classList.toggle("varco-odd", key % 2 === 1);
    line.node.classList.toggle("varco-missing", !known);
    for (const cell of line.cells) {
      const value = known?.cells[rows.place(cell.column)] ?? "…";
      const day = this.columns.days[this.columns.name(cell.column)];
      show(cell, value, day);
      this.#mark(cell, position === active && cell.column === this.column);
      const isFound = this.needle !== "" && hasText(value, this.needle, day !== void 0);
      if (cell.isFound === isFound) continue;
      cell.isFound = isFound;
      cell.node.classList.toggle("varco-found", isFound);
    }
  }
};
function show(cell, value, day) {
  setText(cell.label, textOf(value, day));
  const address = typeof value === "string" || !IMAGE.test(value[1]) ? "" : value[1];
  if (!address) {
    cell.image?.remove();
    cell.image = void 0;
    return;
  }
  if (!cell.image) {
    cell.image = element("img", "varco-thumbnail", { alt: "", decoding: "async" });
    cell.label.before(cell.image);
  }
  if (cell.image.src !== address) cell.image.src = address;
}
function makeLine(className) {
  const node = element("div", `varco-row ${className}`, { role: "row" });
  const gap = element("div", "varco-gap", { role: "presentation" });
  node.append(gap);
  return { node, gap, cells: [], position: -1, key: -1, id: void 0 };
}
function setStyle(node, name, value) {
  if (node.style[name] !== value) node.style[name] = value;
}
function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// src/table/viewport.js
var MAX_SPACE = 8e6;
var Viewport = class {
  top = 0;
  // position of the first row in sight, fractional
  total = 0;
  // rows
  height = 0;
  // of what is seen, the head included, in pixels
  row = 24;
  // height of one, in pixels; it follows the font
  isMoved = true;
  // the scroll bar has to be put where `top` is
  /** How many rows are seen, fractional. */
  get visible() {
    return Math.max(1, (this.height - this.row) / this.row);
  }
  get lastTop() {
    return Math.max(0, this.total - this.visible);
  }
  /** The height of everything, the head included, in pixels. */
  get space() {
    return Math.min(this.total * this.row, MAX_SPACE) + this.row;
  }
  /** Where the scroll bar belongs. */
  get scroll() {
    if (this.total * this.row <= MAX_SPACE) return Math.round(this.top * this.row);
    return this.top / this.lastTop * (this.space - this.height);
  }
  /**
   * The user has moved the scroll bar.
   *
   * @param {number} scroll
   */
  scrollTo(scroll) {
    const isExact = this.total * this.row <= MAX_SPACE;
    const top = isExact ? scroll / this.row : scroll / (this.space - this.height) * this.lastTop;
    this.top = clamp(top, 0, this.lastTop);
  }
  /** @param {number} top */
  moveTo(top) {
    this.top = top;
    this.isMoved = true;
  }
  /**
   * Moves as little as possible, so that the row at this position is in sight.
   *
   * @param {number} position
   */
  show(position) {
    if (position < this.top) this.top = position;
    else if (position + 1 > this.top + this.visible) this.top = position + 1 - this.visible;
    this.isMoved = true;
  }
  /** Stays within the rows, after their number or the height has changed. */
  stayInside() {
    this.top = clamp(this.top, 0, this.lastTop);
  }
  /** The first position in sight, and how many there are. */
  inSight() {
    const first = Math.floor(this.top);
    const count = Math.min(Math.ceil(this.visible + this.top - first), this.total - first);
    return { first, count };
  }
};

// src/table/table.js
var DRAG = 6;
var RESIZE = 16;
var NOTE = 2e3;
var Table = class {
  rows = new Rows();
  columns = new Columns();
  viewport = new Viewport();
  note = "";
  /** @type {import("./rows.js").Id | undefined} */
  pressed;
  // the row that the mouse was pressed on
  /** @type {HTMLElement | undefined} */
  hovered;
  // the cell that the mouse is over
  isCopying = false;
  // whether a cell was asked for to be copied
  /** @type {number | null} */
  opening = null;
  // key of a row that is opened as soon as it is here
  /**
   * @param {import("../common/model.js").Model<State>} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    this.model = model;
    this.sheet = new Sheet(this.rows, this.columns, this.viewport);
    this.grid = this.sheet.grid;
    this.grid.setAttribute("aria-label", model.get("label"));
    this.redraw = new Redraw(this.grid, () => this.draw());
    this.selection = new Selection(model, this.rows, () => this.schedule());
    this.exchange = new Exchange(model, this.sheet.uid, () => this.schedule());
    this.follow = new Follow(model, this.rows, this.viewport);
    this.menu = new Menu(() => this.grid.focus());
    const silent = { tabindex: "-1", "aria-hidden": "true", title: "Menu" };
    this.more = button("", () => this.openMenu(), { class: "varco-more", ...silent });
    this.find = new Find({
      ask: (text) => this.exchange.askFind(text),
      go: ([key, column]) => this.toCell(key, column),
      onClose: () => {
        this.grid.focus();
        this.schedule();
      }
    });
    this.foot = new Foot({
      onNewest: () => {
        this.follow.set(true);
        this.grid.focus();
      },
      onEmpty: () => this.arrange({ ...this.arrangement, show_empty: !this.arrangement.show_empty }),
      onHidden: () => this.arrange({ ...this.arrangement, hidden: [] })
    });
    this.error = element("div", "varco-error", { role: "alert" });
    this.errorText = element("span");
    const dismiss = button("✕", () => save(model, { error: "" }), { "aria-label": "Dismiss" });
    this.error.append(this.errorText, dismiss);
    el.classList.add("varco", "varco-table");
    el.append(this.find.node, this.grid, this.foot.node, this.error, this.menu.node);
    const traits = ["newest_first", "sort_by", "sort_descending", "height", "loading"];
    this.silence = listen(model, {
      ...onChange(traits, () => this.schedule()),
      "change:_window": () => this.onWindow(),
      "change:arrangement": () => {
        this.columns.choose(this.arrangement.widths ?? {});
        this.schedule();
      },
      "change:selected": () => this.selection.read(),
      "change:follow": () => {
        this.follow.onChange();
        this.schedule();
      },
      "change:error": () => this.onError(),
      "msg:custom": (message) => this.onMessage(message)
    });
    this.grid.addEventListener("scroll", () => this.onScroll(), { passive: true });
    this.grid.addEventListener("wheel", (event) => this.follow.onWheel(event), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.onKey(event));
    this.grid.addEventListener("mousedown", (event) => this.onMouse(event));
    this.grid.addEventListener("pointerdown", (event) => this.onHead(event));
    this.grid.addEventListener("mouseover", (event) => this.onHover(event));
    this.grid.addEventListener("mouseleave", () => this.more.remove());
    this.grid.addEventListener("contextmenu", (event) => this.onContextMenu(event));
    this.grid.addEventListener("dblclick", (event) => this.onDoubleClick(event));
    this.grid.addEventListener("focus", () => this.schedule());
    this.fonts = new ResizeObserver(() => this.schedule());
    this.fonts.observe(this.foot.node);
    this.columns.choose(this.arrangement.widths ?? {});
    this.onWindow();
    this.onError();
  }
  dispose() {
    this.silence();
    this.redraw.dispose();
    this.fonts.disconnect();
    this.find.dispose();
    this.selection.dispose();
    this.exchange.forget();
    this.rows.forget();
  }
  schedule() {
    this.redraw.schedule();
  }
  get arrangement() {
    return this.model.get("arrangement");
  }
  /** @param {import("./arrange.js").Arrangement} arrangement */
  arrange(arrangement) {
    save(this.model, { arrangement });
  }
  draw() {
    const { model, columns } = this;
    if (!columns.count) return;
    this.rows.isNewestFirst = model.get("newest_first");
    this.grid.classList.toggle("varco-loading", model.get("loading"));
    this.grid.setAttribute("aria-busy", String(model.get("loading")));
    columns.setFont(Number.parseFloat(getComputedStyle(this.grid).fontSize));
    this.sheet.needle = this.find.needle;
    if (columns.fit(this.rows, () => this.sheet.ruler())) this.viewport.isMoved = true;
    this.sheet.size(model.get("height"));
    const shown = this.sheet.draw(
      this.selection,
      model.get("sort_by"),
      model.get("sort_descending")
    );
    const { empty = [], hidden = [] } = model.get("_window");
    const said = {
      total: this.rows.total,
      selected: this.selection.ids.size,
      sortBy: this.rows.extent.sorted ? model.get("sort_by") : "",
      isDescending: model.get("sort_descending"),
      isPage: model.get("is_page"),
      days: columns.days,
      note: this.note
    };
    this.foot.draw(said, empty, !!this.arrangement.show_empty, hidden);
    this.foot.newest.hidden = !this.follow.isOffered;
    this.request(shown);
  }
  // --- what Python says -------------------------------------------------------------------------
  onWindow() {
    const { model, rows, viewport } = this;
    const next = model.get("_window");
    if (next.generation === void 0) return;
    const last = rows.extent;
    rows.extent = next;
    rows.isNewestFirst = model.get("newest_first");
    viewport.total = next.total;
    rows.pinned = next.pinned;
    this.columns.set(model.get("_columns"), next.pinned, next.days);
    if (next.generation !== last.generation) {
      rows.forget();
      rows.isStale = false;
      this.exchange.forget();
    }
    if (next.keys !== last.keys) {
      this.selection.reset();
      this.opening = null;
      viewport.top = 0;
      if (this.find.isOpen) this.find.search();
    } else if (next.sorted) {
      rows.isStale = true;
    } else if (!model.get("follow") && rows.newestFirst) {
      viewport.top += next.base + next.total - last.base - last.total;
    } else {
      viewport.top -= next.base - last.base;
    }
    if (String(next.span) === String(rows.span)) this.remember(next);
    if (this.follow.isOn) this.follow.toNewest();
    viewport.isMoved = true;
    this.schedule();
  }
  /** @param {any} message */
  onMessage(message) {
    if (!this.exchange.isAnswer(message)) return;
    if (message.type === "copied") this.toClipboard(message.text);
    else if (message.type === "cell") this.onCell(message.text);
    else if (message.type === "found") {
      const places = message.generation === this.rows.extent.generation ? message.places : [];
      this.find.found(this.rows.newestFirst ? places.reverse() : places, message.total);
    } else if (message.generation === this.rows.extent.generation) this.remember(message);
    this.schedule();
  }
  onError() {
    showText(this.errorText, this.model.get("error"));
    this.error.hidden = this.errorText.hidden;
  }
  /** @param {import("./rows.js").Part} part */
  remember(part) {
    this.rows.remember(part);
    const awaited = this.rows.get(this.opening);
    if (!awaited) return;
    this.opening = null;
    this.open(awaited.id);
  }
  /**
   * Asks for the rows in sight that are not known.
   *
   * @param {{first: number, count: number, from: number, to: number}} shown
   */
  request({ first, count, from, to }) {
    if (this.exchange.isWaiting || count <= 0) return;
    const before = 1 + this.rows.pinned;
    const span = [Math.max(0, from - before), Math.max(0, to - before)];
    const [low, high] = span;
    const wanted = this.rows.missing(first, count, low, high, this.columns.count - before);
    if (!wanted) return;
    const { generation } = this.rows.extent;
    const page = Math.ceil(this.viewport.visible) + 10;
    this.exchange.askRows({ ...wanted, generation, page });
  }
  /** @param {import("./rows.js").Id} id */
  open(id) {
    this.model.send({ type: "open", id });
  }
  // --- mouse ------------------------------------------------------------------------------------
  onScroll() {
    if (!this.grid.isConnected) return;
    const scroll = this.grid.scrollTop;
    if (Math.abs(scroll - this.sheet.expected) >= 1) {
      this.sheet.expected = scroll;
      this.viewport.scrollTo(scroll);
      this.follow.notice();
    }
    this.schedule();
  }
  /** @param {MouseEvent} event */
  onMouse(event) {
    if (event.button !== 0) return;
    if (event.shiftKey) {
      event.preventDefault();
      event.stopPropagation();
      this.grid.focus({ preventScroll: true });
    }
    if (
      /** @type {Node} */
      event.target === this.more
    ) return;
    const { line, cell } = this.sheet.under(event);
    if (!line || this.model.get("loading")) return;
    const { id } = line;
    this.sheet.inHead = false;
    this.sheet.column = cell?.column ?? this.sheet.column;
    this.pressed = id;
    this.selection.active = this.rows.keyOf(line);
    if (this.selection.active === null && id !== void 0) this.selection.select([id]);
    else if (event.shiftKey) this.selection.extend();
    else if (hasControl(event)) this.selection.toggle();
    else this.selection.selectActive();
    this.schedule();
  }
  /** @param {MouseEvent} event */
  onDoubleClick(event) {
    const isHere = this.sheet.under(event).line && !this.model.get("loading");
    if (isHere && this.pressed !== void 0) this.open(this.pressed);
  }
  /** @param {PointerEvent} event */
  onHead(event) {
    const { head, isGrip } = this.sheet.under(event);
    if (!head || event.button !== 0 || event.target === this.more) return;
    const { column } = head;
    const node = isGrip ? (
      /** @type {HTMLElement} */
      event.target
    ) : head.node;
    const width = this.columns.widthOf(column);
    let isDragged = false;
    if (isGrip) event.preventDefault();
    const onMove = (to) => {
      isDragged ||= Math.abs(to.clientX - event.clientX) > DRAG;
      if (isGrip) this.resize(column, width + to.clientX - event.clientX);
      else this.grid.classList.toggle("varco-dragging", isDragged);
    };
    const onUp = (to) => {
      this.sheet.column = column;
      if (isGrip) this.keepWidth(column);
      else if (!isDragged) this.sort();
      else if (column > 0) this.moveColumn(column, this.columns.at(this.sheet.xOf(to)));
    };
    node.setPointerCapture(event.pointerId);
    node.addEventListener("pointermove", onMove);
    node.addEventListener("pointerup", onUp);
    const end = () => {
      node.removeEventListener("pointermove", onMove);
      node.removeEventListener("pointerup", onUp);
      this.grid.classList.remove("varco-dragging");
    };
    node.addEventListener("lostpointercapture", end, { once: true });
  }
  /** @param {MouseEvent} event */
  onHover(event) {
    const { line, cell, head } = this.sheet.under(event);
    const over = cell ?? head;
    if (!over || over.node.contains(this.more)) return;
    if (this.hovered) this.hovered.title = "";
    this.hovered = head ? void 0 : over.node;
    over.node.append(this.more);
    const id = line?.id;
    const value = line && this.valueAt(line, over.column);
    if (value === void 0 || id === void 0) return;
    const text = wholeOf(value);
    const isCut = over.node.scrollWidth > over.node.clientWidth;
    const name = this.columns.name(over.column);
    if (isCut || textOf(value, this.columns.days[name]) !== text) over.node.title = text;
    if (text.endsWith("…")) this.exchange.askCell(id, name);
  }
  /** @param {string} text more of the cell under the mouse than it shows */
  onCell(text) {
    if (this.isCopying) this.toClipboard(text);
    else if (this.hovered?.isConnected) this.hovered.title = text;
    this.isCopying = false;
  }
  /** @param {MouseEvent} event */
  onContextMenu(event) {
    const { line, cell, head } = this.sheet.under(event);
    if (!head && !line) return;
    event.preventDefault();
    event.stopPropagation();
    this.point(line, cell, head);
    this.openMenu({ x: event.clientX, y: event.clientY });
  }
  /**
   * Makes what the mouse is at the active cell.
   *
   * @param {import("./sheet.js").Line | undefined} line
   * @param {import("./sheet.js").Cell | undefined} cell
   * @param {import("./sheet.js").Cell | undefined} head
   */
  point(line, cell, head) {
    this.sheet.inHead = !line;
    this.sheet.column = (cell ?? head)?.column ?? this.sheet.column;
    if (line) this.selection.active = this.rows.keyOf(line);
    this.grid.focus({ preventScroll: true });
    this.schedule();
  }
  // --- menus ------------------------------------------------------------------------------------
  /**
   * Opens the menu of the active cell.
   *
   * @param {{x: number, y: number}} [place]
   */
  openMenu(place) {
    const under = place ? null : this.more.isConnected && this.sheet.around(this.more);
    if (under) this.point(under.line, under.cell, under.head);
    const cell = this.sheet.cellAt(this.rows.positionOf(this.selection.active));
    const box = (under ? this.more : cell?.node ?? this.grid).getBoundingClientRect();
    const at = place ?? { x: box.left, y: box.bottom };
    const name = this.columns.name(this.sheet.column);
    if (this.sheet.inHead) this.menu.open(`Column ${name}`, this.columnChoices(), at);
    else if (!this.model.get("loading")) {
      this.menu.open(`Value of ${name}`, this.valueChoices(), at);
    }
  }
  columnChoices() {
    const { sheet, columns, arrangement } = this;
    const { column } = sheet;
    const isPinned = columns.isPinned(column);
    const about = {
      name: columns.name(column),
      isIndex: column === 0,
      isPinned,
      isFirst: column === (isPinned ? 1 : 1 + columns.pinned),
      isLast: column === (isPinned ? columns.pinned : columns.count - 1),
      hidden: this.model.get("_window").hidden,
      arrangement
    };
    return choicesOfColumn(about, {
      sort: (name, isDescending) => save(this.model, { sort_by: name, sort_descending: isDescending }),
      move: (by) => this.moveColumn(column, column + by),
      hide: () => this.arrange(hide(arrangement, about.name)),
      arrange: (next) => this.arrange(next)
    });
  }
  valueChoices() {
    const { sheet, selection } = this;
    const position = this.rows.positionOf(selection.active);
    const id = this.rows.get(this.rows.keyAt(position))?.id;
    const column = this.columns.name(sheet.column);
    return choicesOfValue(this.model.get("can_filter") && id !== void 0, {
      pick: (exclude) => this.model.send({ type: "pick", id, column, exclude }),
      copyValue: () => {
        this.isCopying = true;
        if (id !== void 0) this.exchange.askCell(id, column);
      },
      copyRows: () => this.copy(),
      find: () => this.find.open(),
      open: () => this.openAt(position)
    });
  }
  /**
   * @param {import("./sheet.js").Line} line
   * @param {number} column
   */
  valueAt(line, column) {
    return this.rows.get(this.rows.keyOf(line))?.cells[this.rows.place(column)];
  }
  /**
   * @param {number} from
   * @param {number} to
   */
  moveColumn(from, to) {
    if (from < 1 || to === from) return;
    const { names, pinned } = this.columns;
    this.arrange(move(this.arrangement, names, pinned, from - 1, to - 1));
    this.sheet.column = clamp(to, 1, names.length);
  }
  /** @param {number} column */
  keepWidth(column) {
    const width = this.columns.widthOf(column);
    this.arrange(widen(this.arrangement, this.columns.name(column), width));
  }
  /**
   * @param {number} column
   * @param {number} width
   */
  resize(column, width) {
    this.columns.resize(column, width);
    this.viewport.isMoved = true;
    this.schedule();
  }
  sort() {
    const name = this.columns.name(this.sheet.column);
    const isSame = this.model.get("sort_by") === name;
    if (!isSame) save(this.model, { sort_by: name, sort_descending: false });
    else if (!this.model.get("sort_descending")) save(this.model, { sort_descending: true });
    else save(this.model, { sort_by: "", sort_descending: false });
  }
  // --- keyboard ---------------------------------------------------------------------------------
  /** @param {KeyboardEvent} event */
  onKey(event) {
    const command = commandOf(event, this.sheet.inHead);
    if (!command || command === "clear" && !this.selection.ids.size) return;
    if (this.model.get("loading") && !this.sheet.inHead && command !== "find") return;
    this.carryOut(command, event);
    event.preventDefault();
    event.stopPropagation();
    this.schedule();
  }
  /**
   * @param {import("./keys.js").Command} command
   * @param {KeyboardEvent} event
   */
  carryOut(command, event) {
    const { sheet, selection } = this;
    const position = this.rows.positionOf(selection.active);
    const page = Math.max(1, Math.floor(this.viewport.visible) - 1);
    const go = (wanted) => this.toRow(wanted, event.shiftKey, hasControl(event));
    const widenBy = (by) => {
      this.resize(sheet.column, this.columns.widthOf(sheet.column) + by);
      this.keepWidth(sheet.column);
    };
    ({
      copy: () => this.copy(),
      selectAll: () => selection.selectAll(),
      left: () => sheet.activate(sheet.column - 1),
      right: () => sheet.activate(sheet.column + 1),
      narrower: () => widenBy(-RESIZE),
      wider: () => widenBy(RESIZE),
      leaveHead: () => {
        sheet.inHead = false;
      },
      sort: () => this.sort(),
      up: () => {
        if (position === 0) sheet.inHead = true;
        else go(position - 1);
      },
      down: () => go(selection.active === null ? 0 : position + 1),
      pageUp: () => go(position - page),
      pageDown: () => go(position + page),
      first: () => go(0),
      last: () => go(this.rows.total - 1),
      toggle: () => selection.toggle(),
      open: () => this.openAt(position),
      clear: () => selection.select([]),
      find: () => this.find.open(),
      menu: () => this.openMenu(),
      moveLeft: () => this.moveColumn(sheet.column, sheet.column - 1),
      moveRight: () => this.moveColumn(sheet.column, sheet.column + 1)
    })[command]();
  }
  /** @param {number} position */
  openAt(position) {
    const key = this.rows.keyAt(position);
    const known = this.rows.get(key);
    if (known) this.open(known.id);
    else this.opening = key;
  }
  /**
   * Makes a row the active one and selects it.
   *
   * @param {number} wanted position
   * @param {boolean} extend the selection to it
   * @param {boolean} moveOnly leave the selection as it is
   */
  toRow(wanted, extend, moveOnly) {
    const { rows, selection, viewport } = this;
    if (rows.total === 0) return;
    const position = clamp(wanted, 0, rows.total - 1);
    selection.active ??= rows.keyAt(0);
    if (extend) selection.anchor ??= selection.active;
    selection.active = rows.keyAt(position);
    this.opening = null;
    viewport.show(position);
    this.follow.notice();
    if (extend) selection.extend();
    else if (!moveOnly) selection.selectActive();
  }
  /**
   * Makes a cell the active one, and brings it in sight.
   *
   * @param {number} key of its row
   * @param {number} column
   */
  toCell(key, column) {
    this.sheet.inHead = false;
    this.selection.active = key;
    this.viewport.show(this.rows.positionOf(key));
    this.follow.notice();
    this.sheet.activate(column);
    this.schedule();
  }
  // --- clipboard --------------------------------------------------------------------------------
  copy() {
    this.selection.flush();
    this.exchange.askCopy();
  }
  /** @param {string} text */
  async toClipboard(text) {
    this.note = await copy(text) ? "copied" : "the browser refused to copy";
    this.schedule();
    setTimeout(() => {
      this.note = "";
      this.schedule();
    }, NOTE);
  }
};
var table_default = widgetOf(Table);
export {
  table_default as default
};

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

// src/table/columns.js
var Columns = class {
  /** @type {Column[]} */
  list = [];
  offsets = [0];
  // of each column, and of the end
  /** @type {Map<string, number>} */
  #widths = /* @__PURE__ */ new Map();
  // by name, once known
  get count() {
    return this.list.length;
  }
  get width() {
    return this.offsets[this.count];
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
  widthOf(column) {
    return this.offsets[column + 1] - this.offsets[column];
  }
  /** @param {Column[]} list */
  set(list) {
    this.list = list;
    this.#place();
  }
  /**
   * @param {number} column
   * @param {number} width
   */
  resize(column, width) {
    this.#widths.set(this.name(column), Math.round(clamp(width, 40, 2e3)));
    this.#place();
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
    const places = this.list.map(([name], column) => [name, column && column - rows.span[0]]);
    const unset = places.filter(([name, cell], column) => !this.#widths.has(name) && (column === 0 || cell > 0)).filter(([, cell]) => sample.some(({ cells }) => cells[cell]));
    if (!unset.length) return false;
    const measure = ruler();
    for (const [name, cell] of unset) {
      const widest = Math.max(...sample.map(({ cells }) => measure(cells[cell] ?? "")));
      this.#widths.set(name, Math.ceil(clamp(widest + 26, guess(name), 340)));
    }
    this.#place();
    return true;
  }
  /**
   * The columns in sight besides the index, from the first to before the second.
   *
   * @param {number} scrolled
   * @param {number} width
   * @returns {[number, number]}
   */
  inSight(scrolled, width) {
    const [left, right] = [scrolled + this.offsets[1], scrolled + width];
    let from = 1;
    while (from < this.count - 1 && this.offsets[from + 1] <= left) from++;
    let to = from;
    while (to < this.count && this.offsets[to] < right) to++;
    return [from, to];
  }
  /**
   * How far to scroll so that a column is in sight.
   *
   * @param {number} column
   * @param {number} scrolled
   * @param {number} width
   */
  scrollTo(column, scrolled, width) {
    if (column === 0) return scrolled;
    const [left, right] = [this.offsets[column], this.offsets[column + 1]];
    if (left < scrolled + this.offsets[1]) return left - this.offsets[1];
    return right > scrolled + width ? right - width : scrolled;
  }
  #place() {
    this.offsets = [0];
    for (const [name] of this.list) {
      this.offsets.push(
        this.offsets[this.offsets.length - 1] + (this.#widths.get(name) ?? guess(name))
      );
    }
  }
};
var guess = (name) => clamp(name.length * 8 + 40, 60, 240);

// src/table/exchange.js
var PATIENCE = 5e3;
var Exchange = class {
  #requests = 0;
  #rows = "";
  // the request for rows that waits for its answer
  #copy = "";
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
    if (type !== "rows" || request !== this.#rows) return false;
    this.forget();
    return true;
  }
  #next() {
    return `${this.uid}-${++this.#requests}`;
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

// src/table/keys.js
var WITH_CONTROL = { c: "copy", a: "selectAll" };
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
  if (hasControl(key) && key.key.length === 1) return WITH_CONTROL[key.key.toLowerCase()];
  if (!inHead) return IN_BODY[key.key];
  return (key.shiftKey ? IN_HEAD_WITH_SHIFT : IN_HEAD)[key.key];
}

// src/table/rows.js
var KEPT = 3e3;
var ALL_COLUMNS = 60;
var Rows = class {
  /** @type {Extent} */
  extent = { base: 0, total: 0, sorted: false, generation: -1 };
  isNewestFirst = false;
  // unless it is sorted
  isStale = false;
  // the positions of rows may have changed; they are shown until they are renewed
  /** @type {[number, number]} */
  span = [0, ALL_COLUMNS];
  // the columns that cells have, the index not counted
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
   * @param {number} from column in sight, the index not counted
   * @param {number} to column after the last in sight
   * @param {number} columns how many there are
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
var DELAY = 60;
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
    this.#timer = setTimeout(() => this.flush(), DELAY);
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

// src/table/viewport.js
var ROW = 24;
var MAX_SPACE = 8e6;
var Viewport = class {
  top = 0;
  // position of the first row in sight, fractional
  total = 0;
  // rows
  height = 0;
  // of what is seen, the head included, in pixels
  isMoved = true;
  // the scroll bar has to be put where `top` is
  /** How many rows are seen, fractional. */
  get visible() {
    return Math.max(1, (this.height - ROW) / ROW);
  }
  get lastTop() {
    return Math.max(0, this.total - this.visible);
  }
  /** The height of everything, the head included, in pixels. */
  get space() {
    return Math.min(this.total * ROW, MAX_SPACE) + ROW;
  }
  /** Where the scroll bar belongs. */
  get scroll() {
    if (this.total * ROW <= MAX_SPACE) return Math.round(this.top * ROW);
    return this.top / this.lastTop * (this.space - this.height);
  }
  /**
   * The user has moved the scroll bar.
   *
   * @param {number} scroll
   */
  scrollTo(scroll) {
    const isExact = this.total * ROW <= MAX_SPACE;
    const top = isExact ? scroll / ROW : scroll / (this.space - this.height) * this.lastTop;
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

// src/table/sheet.js
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
      "aria-label": "Rows",
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
    const bar = grid.offsetHeight - grid.clientHeight;
    const wanted = Math.min(height, Math.max(viewport.space, 3 * ROW) + bar);
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
    this.#drawHead(from, to, sortBy, isDescending ? "descending" : "ascending");
    while (this.lines.length < count) this.lines.push(this.#addLine());
    while (this.lines.length > count) this.lines.pop()?.node.remove();
    const active = this.inHead ? -1 : this.rows.positionOf(selection.active);
    this.lines.forEach((line, index) => {
      this.#drawLine(line, first + index, from, to, active, selection.ids);
    });
    const isShown = this.inHead || active >= first && active < first + count;
    this.body.style.transform = `translateY(${Math.round((first - this.viewport.top) * ROW)}px)`;
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
    const target = (
      /** @type {Element} */
      event.target
    );
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
  #addLine() {
    const line = makeLine("");
    this.body.append(line.node);
    return line;
  }
  /**
   * Exactly the cells of the index and of `from` to before `to`, reused from the last time.
   *
   * @param {Line} line
   * @param {number} from
   * @param {number} to
   * @param {() => HTMLElement[]} make gives a cell, and what is in it has the text, if anything is
   */
  #prepare({ node, gap, cells }, from, to, make) {
    const { columns } = this;
    const wanted = 1 + to - from;
    while (cells.length < wanted) {
      const [made, label = made] = make();
      if (cells.length === 0) node.prepend(made);
      else node.append(made);
      cells.push({ node: made, label, column: -1, list: null, isActive: false });
    }
    while (cells.length > wanted) cells.pop()?.node.remove();
    setStyle(gap, "width", `${columns.offsets[from] - columns.offsets[1]}px`);
    setStyle(node, "width", this.sheet.style.width);
    cells.forEach((cell, index) => {
      const column = index === 0 ? 0 : from + index - 1;
      setStyle(cell.node, "width", `${columns.widthOf(column)}px`);
      if (cell.column === column && cell.list === columns.list) return;
      cell.column = column;
      cell.list = columns.list;
      cell.node.classList.toggle("varco-first", column === 0);
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
    this.#prepare(line, from, to, () => [element("div", "varco-cell", { role: "gridcell" })]);
    line.position = position;
    setAttribute(line.node, "aria-rowindex", String(position + 2));
    setAttribute(line.node, "aria-selected", String(!!known && selected.has(known.id)));
    line.node.classList.toggle("varco-odd", key % 2 === 1);
    line.node.classList.toggle("varco-missing", !known);
    for (const cell of line.cells) {
      const place = cell.column === 0 ? 0 : cell.column - rows.span[0];
      const isHere = known && (cell.column === 0 || place > 0) && place < known.cells.length;
      setText(cell.label, isHere ? known.cells[place] : "…");
      this.#mark(cell, position === active && cell.column === this.column);
    }
  }
};
var Foot = class {
  /** @param {() => void} onNewest */
  constructor(onNewest) {
    this.node = element("div", "varco-foot");
    this.count = element("span", "varco-count");
    this.newest = button("Follow newest", onNewest, { class: "varco-newest" });
    this.node.append(this.count, this.newest);
  }
  /**
   * @param {number} total
   * @param {number} selected
   * @param {string} note
   */
  draw(total, selected, note) {
    const parts = [`${grouped(total)} ${total === 1 ? "row" : "rows"}`];
    if (selected) parts.push(`${grouped(selected)} selected`);
    if (note) parts.push(note);
    setText(this.count, parts.join(" · "));
  }
};
function makeLine(className) {
  const node = element("div", `varco-row ${className}`, { role: "row" });
  const gap = element("div", "varco-gap", { role: "presentation" });
  node.append(gap);
  return { node, gap, cells: [], position: -1 };
}
function setStyle(node, name, value) {
  if (node.style[name] !== value) node.style[name] = value;
}
function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// src/table/table.js
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
    this.redraw = new Redraw(this.grid, () => this.draw());
    this.selection = new Selection(model, this.rows, () => this.schedule());
    this.exchange = new Exchange(model, this.sheet.uid, () => this.schedule());
    this.follow = new Follow(model, this.rows, this.viewport);
    this.foot = new Foot(() => {
      this.follow.set(true);
      this.grid.focus();
    });
    this.error = element("div", "varco-error", { role: "alert" });
    this.errorText = element("span");
    const dismiss = button("✕", () => save(model, { error: "" }), { "aria-label": "Dismiss" });
    this.error.append(this.errorText, dismiss);
    el.classList.add("varco", "varco-table");
    el.append(this.grid, this.foot.node, this.error);
    const traits = ["newest_first", "sort_by", "sort_descending", "height"];
    this.silence = listen(model, {
      ...onChange(traits, () => this.schedule()),
      "change:_window": () => this.onWindow(),
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
    this.grid.addEventListener("pointerdown", (event) => this.onGrip(event));
    this.grid.addEventListener("dblclick", (event) => this.onDoubleClick(event));
    this.grid.addEventListener("focus", () => this.schedule());
    this.onWindow();
    this.onError();
  }
  dispose() {
    this.silence();
    this.redraw.dispose();
    this.selection.dispose();
    this.exchange.forget();
    this.rows.forget();
  }
  schedule() {
    this.redraw.schedule();
  }
  draw() {
    const { model, columns } = this;
    if (!columns.count) return;
    this.rows.isNewestFirst = model.get("newest_first");
    if (columns.fit(this.rows, () => this.sheet.ruler())) this.viewport.isMoved = true;
    this.sheet.size(model.get("height"));
    const shown = this.sheet.draw(
      this.selection,
      model.get("sort_by"),
      model.get("sort_descending")
    );
    this.foot.draw(this.rows.total, this.selection.ids.size, this.note);
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
    if (model.get("_columns") !== this.columns.list) this.columns.set(model.get("_columns"));
    if (next.generation !== last.generation) {
      rows.forget();
      rows.isStale = false;
      this.selection.reset();
      this.exchange.forget();
      this.opening = null;
      viewport.top = 0;
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
    else if (message.generation === this.rows.extent.generation) this.remember(message);
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
    const wanted = this.rows.missing(first, count, from - 1, to - 1, this.columns.count - 1);
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
    const { line, cell, head, isGrip } = this.sheet.under(event);
    if (head && !isGrip) {
      this.sheet.column = head.column;
      this.sort();
    }
    if (!line) return;
    this.sheet.inHead = false;
    this.sheet.column = cell?.column ?? this.sheet.column;
    const key = this.rows.keyAt(line.position);
    this.pressed = this.rows.get(key)?.id;
    this.selection.active = key;
    if (event.shiftKey) this.selection.extend();
    else if (hasControl(event)) this.selection.toggle();
    else this.selection.selectActive();
    this.schedule();
  }
  /** @param {MouseEvent} event */
  onDoubleClick(event) {
    if (this.sheet.under(event).line && this.pressed !== void 0) this.open(this.pressed);
  }
  /** @param {PointerEvent} event */
  onGrip(event) {
    const { head, isGrip } = this.sheet.under(event);
    if (!head || !isGrip) return;
    event.preventDefault();
    const grip = (
      /** @type {HTMLElement} */
      event.target
    );
    const { column } = head;
    const width = this.columns.widthOf(column);
    const move = (to) => this.resize(column, width + to.clientX - event.clientX);
    grip.setPointerCapture(event.pointerId);
    grip.addEventListener("pointermove", move);
    const end = () => grip.removeEventListener("pointermove", move);
    grip.addEventListener("lostpointercapture", end, { once: true });
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
    const widen = (by) => this.resize(sheet.column, this.columns.widthOf(sheet.column) + by);
    ({
      copy: () => this.copy(),
      selectAll: () => selection.selectAll(),
      left: () => sheet.activate(sheet.column - 1),
      right: () => sheet.activate(sheet.column + 1),
      narrower: () => widen(-RESIZE),
      wider: () => widen(RESIZE),
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
      clear: () => selection.select([])
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

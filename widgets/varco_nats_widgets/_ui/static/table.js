// A table that holds only the rows in sight and asks Python for windows of the others.
// A row has a key: its number of arrival, or its position while the table is sorted. Positions
// count rows from the top as they are shown. Data reach the page through textContent only.

const ROW = 24; // pixels, as in table.css
const MAX_SPACE = 8_000_000; // pixels; browsers cannot lay out much more
const ALL_COLUMNS = 60; // more columns than this are asked for in parts
const KEPT = 3000; // rows remembered
const PATIENCE = 5000; // ms until a request that got no answer is made again

let tables = 0;

const clamp = (value, low, high) => Math.max(low, Math.min(value, high));

class Table {
  constructor(model, el) {
    this.model = model;
    this.uid = `varco-table-${++tables}-${Math.random().toString(36).slice(2, 8)}`;
    this.requests = 0;
    this.cache = new Map(); // key -> {id, cells}
    this.span = [0, ALL_COLUMNS]; // the columns that cached cells have, the index not counted
    this.widths = new Map(); // column name -> pixels, once known
    this.pool = [];
    this.top = 0; // position of the first row in sight, fractional
    this.active = null; // key; null is the first row
    this.opening = null; // key of a row that is opened as soon as it is here
    this.anchor = null; // key from which Shift extends
    this.column = 0; // active column, 0 is the index
    this.inHead = false;
    this.resume = false; // scrolling back to the newest row turns follow on again
    this.state = { base: 0, total: 0, sorted: false, generation: -1 };
    this.selected = new Set(model.get("selected"));
    this.build(el);
    this.listen();
    this.onWindow();
    this.onError();
  }

  build(el) {
    el.classList.add("varco-table");
    this.grid = element("div", "varco-grid", {
      role: "grid",
      tabindex: "0",
      "aria-multiselectable": "true",
      "aria-readonly": "true",
      "aria-label": "Rows",
      // JupyterLab would take the arrow keys and letters for its own
      "data-lm-suppress-shortcuts": "true",
    });
    this.space = element("div", "varco-space", { role: "presentation" });
    this.sheet = element("div", "varco-sheet", { role: "presentation" });
    this.head = this.makeRow("varco-head");
    this.head.row.setAttribute("aria-rowindex", "1");
    this.body = element("div", "varco-body", { role: "rowgroup" });
    this.sheet.append(this.head.row, this.body);
    this.space.append(this.sheet);
    this.grid.append(this.space);
    this.foot = element("div", "varco-foot");
    this.count = element("span", "varco-count");
    this.newest = element("button", "varco-newest", { type: "button" });
    this.newest.textContent = "Follow newest";
    this.foot.append(this.count, this.newest);
    this.error = element("div", "varco-error", { role: "alert" });
    this.errorText = element("span", "");
    const dismiss = element("button", "", { type: "button", "aria-label": "Dismiss" });
    dismiss.textContent = "✕";
    dismiss.addEventListener("click", () => this.save({ error: "" }));
    this.error.append(this.errorText, dismiss);
    el.append(this.grid, this.foot, this.error);
  }

  listen() {
    const on = {
      "change:_window": () => this.onWindow(),
      "change:selected": () => {
        if (this.saving) return; // what is about to be sent is newer
        this.selected = new Set(this.model.get("selected"));
        this.schedule();
      },
      "change:follow": () => {
        if (!this.ownFollow) this.resume = false;
        if (this.model.get("follow")) this.toNewest();
        this.schedule();
      },
      "change:newest_first": () => this.schedule(),
      "change:sort_by": () => this.schedule(),
      "change:sort_descending": () => this.schedule(),
      "change:height": () => this.schedule(),
      "change:error": () => this.onError(),
      "msg:custom": (message) => this.onMessage(message),
    };
    for (const [event, handler] of Object.entries(on)) this.model.on(event, handler);
    this.silence = () => {
      for (const [event, handler] of Object.entries(on)) this.model.off(event, handler);
    };
    this.resizes = new ResizeObserver(() => this.schedule());
    this.resizes.observe(this.grid);
    this.grid.addEventListener("scroll", () => this.onScroll(), { passive: true });
    this.grid.addEventListener("wheel", (event) => this.onWheel(event), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.onKey(event));
    this.grid.addEventListener("mousedown", (event) => this.onMouse(event));
    this.grid.addEventListener("dblclick", (event) => this.onDoubleClick(event));
    this.grid.addEventListener("focus", () => this.schedule());
    this.newest.addEventListener("click", () => {
      this.setFollow(true);
      this.grid.focus();
    });
  }

  dispose() {
    this.silence();
    this.resizes.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.impatience);
    clearTimeout(this.saving);
    this.cache.clear();
  }

  // --- what Python says -------------------------------------------------------------------------

  onWindow() {
    const next = this.model.get("_window");
    if (next.generation === undefined) return;
    const last = this.state;
    this.state = next;
    const columns = this.model.get("_columns");
    if (columns !== this.columns) {
      this.columns = columns;
      this.layout();
    }
    if (next.generation !== last.generation) {
      this.cache.clear();
      this.pending = null;
      this.active = this.anchor = this.opening = null;
      this.top = 0;
      this.stale = false;
    } else if (next.sorted) {
      this.stale = true; // positions may have changed; what is shown stays until it is renewed
    } else if (!this.model.get("follow") && this.model.get("newest_first")) {
      this.top += next.base + next.total - last.base - last.total;
    } else {
      this.top -= next.base - last.base;
    }
    if (String(next.span) === String(this.span)) this.remember(next);
    if (this.follows()) this.toNewest();
    this.moved = true;
    this.schedule();
  }

  onMessage(message) {
    if (message.request === this.copying && message.type === "copied") {
      this.copying = null;
      this.toClipboard(message.text);
    }
    if (message.type !== "rows" || this.pending?.request !== message.request) return;
    this.pending = null;
    clearTimeout(this.impatience);
    if (message.generation === this.state.generation) {
      this.remember(message);
      this.schedule();
    }
  }

  onError() {
    const text = this.model.get("error");
    this.errorText.textContent = text;
    this.error.hidden = !text;
  }

  remember({ start, ids, rows }) {
    rows.forEach((cells, at) => {
      this.cache.delete(start + at); // set again, it is the youngest
      this.cache.set(start + at, { id: ids[at], cells });
    });
    for (const key of this.cache.keys()) {
      if (this.cache.size <= KEPT) break;
      this.cache.delete(key);
    }
    const awaited = this.cache.get(this.opening);
    if (awaited) {
      this.opening = null;
      this.open(awaited.id);
    }
  }

  // --- geometry ---------------------------------------------------------------------------------

  get newestFirst() {
    return this.model.get("newest_first") && !this.state.sorted;
  }

  follows() {
    return this.model.get("follow") && !this.state.sorted;
  }

  keyAt(position) {
    const { base, total } = this.state;
    return this.newestFirst ? base + total - 1 - position : base + position;
  }

  positionOf(key) {
    const { base, total } = this.state;
    if (key === null) return 0;
    return clamp(this.newestFirst ? base + total - 1 - key : key - base, 0, total - 1);
  }

  get visible() {
    return Math.max(1, (this.inner - ROW) / ROW);
  }

  get lastTop() {
    return Math.max(0, this.state.total - this.visible);
  }

  toNewest() {
    this.top = this.newestFirst ? 0 : Infinity;
    this.moved = true;
  }

  layout() {
    this.offsets = [0];
    for (const [name] of this.columns) {
      this.offsets.push(this.offsets.at(-1) + (this.widths.get(name) ?? this.guess(name)));
    }
    this.moved = true;
  }

  guess(name) {
    return clamp(name.length * 8 + 40, 60, 240);
  }

  // The widths of columns nobody has set follow the first rows that come in.
  fit() {
    const rows = [...this.cache.values()].slice(0, 50);
    const unset = this.columns
      .map(([name], at) => [name, at === 0 ? 0 : at - this.span[0]])
      .filter(([name, cell], at) => !this.widths.has(name) && (at === 0 || cell > 0))
      .filter(([, cell]) => rows.some(({ cells }) => cells[cell]));
    if (!unset.length) return;
    const ink = document.createElement("canvas").getContext("2d");
    const { fontSize, fontFamily } = getComputedStyle(this.body);
    ink.font = `${fontSize} ${fontFamily}`;
    for (const [name, cell] of unset) {
      const widest = Math.max(...rows.map(({ cells }) => ink.measureText(cells[cell] ?? "").width));
      this.widths.set(name, Math.ceil(clamp(widest + 26, this.guess(name), 340)));
    }
    this.layout();
  }

  // --- drawing ----------------------------------------------------------------------------------

  schedule() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    if (!this.columns) return;
    if (!this.grid.clientWidth) {
      // not laid out now; an element observed anew is reported as soon as it has a size
      this.resizes.unobserve(this.grid);
      this.resizes.observe(this.grid);
      return;
    }
    this.fit();
    this.size();
    const { total } = this.state;
    const first = Math.floor(this.top);
    const count = Math.min(Math.ceil(this.visible + this.top - first), total - first);
    const [from, to] = this.columnsInSight();
    this.drawHead(from, to);
    while (this.pool.length < count) this.pool.push(this.addRow());
    while (this.pool.length > count) this.pool.pop().row.remove();
    const activePosition = this.positionOf(this.active);
    let activeId = "";
    this.pool.forEach((row, at) => {
      const position = first + at;
      const isActive = !this.inHead && position === activePosition;
      this.drawRow(row, position, from, to, isActive);
      if (isActive) activeId = `${this.uid}-active`;
    });
    if (this.inHead) activeId = `${this.uid}-active`;
    this.body.style.transform = `translateY(${Math.round((first - this.top) * ROW)}px)`;
    this.grid.setAttribute("aria-rowcount", total + 1);
    this.grid.setAttribute("aria-colcount", this.columns.length);
    this.grid.setAttribute("aria-activedescendant", activeId);
    this.drawFoot();
    this.request(first, count, from, to);
  }

  size() {
    const width = this.offsets.at(-1);
    const wanted = Math.min(this.state.total * ROW, MAX_SPACE) + ROW;
    const bar = this.grid.offsetHeight - this.grid.clientHeight; // borders and scroll bar
    const height = Math.min(this.model.get("height"), Math.max(wanted, 3 * ROW) + bar);
    this.setStyle(this.grid, "height", `${height}px`);
    this.setStyle(this.space, "height", `${wanted}px`);
    this.setStyle(this.space, "width", `${width}px`);
    this.inner = this.grid.clientHeight;
    this.innerWidth = this.grid.clientWidth;
    this.setStyle(this.sheet, "height", `${Math.min(this.inner, wanted)}px`);
    this.setStyle(this.sheet, "width", `${Math.max(width, this.innerWidth)}px`);
    this.top = clamp(this.top, 0, this.lastTop);
    if (this.moved) {
      this.moved = false;
      this.grid.scrollTop = this.scrollOf(this.top);
      this.expected = this.grid.scrollTop;
    }
  }

  setStyle(node, name, value) {
    if (node.style[name] !== value) node.style[name] = value;
  }

  get scrollRange() {
    return Math.min(this.state.total * ROW, MAX_SPACE) + ROW - this.inner;
  }

  scrollOf(top) {
    if (this.state.total * ROW <= MAX_SPACE) return Math.round(top * ROW);
    return (top / this.lastTop) * this.scrollRange;
  }

  topOf(scroll) {
    if (this.state.total * ROW <= MAX_SPACE) return scroll / ROW;
    return (scroll / this.scrollRange) * this.lastTop;
  }

  // The columns from `from` to before `to` are drawn, besides the index.
  columnsInSight() {
    const left = this.grid.scrollLeft + this.offsets[1];
    const right = this.grid.scrollLeft + this.innerWidth;
    let from = 1;
    while (from < this.columns.length - 1 && this.offsets[from + 1] <= left) from++;
    let to = from;
    while (to < this.columns.length && this.offsets[to] < right) to++;
    return [from, to];
  }

  makeRow(className) {
    const row = element("div", `varco-row ${className}`, { role: "row" });
    const gap = element("div", "varco-gap", { role: "presentation" });
    row.append(gap);
    return { row, gap, cells: [] };
  }

  addRow() {
    const row = this.makeRow("");
    this.body.append(row.row);
    return row;
  }

  // Exactly the cells of the index and of `from` to before `to`, reused from the last time.
  prepare(row, from, to, make) {
    const wanted = 1 + to - from;
    while (row.cells.length < wanted) {
      const cell = make();
      if (row.cells.length === 0) row.row.prepend(cell.node);
      else row.row.append(cell.node);
      row.cells.push(cell);
    }
    while (row.cells.length > wanted) row.cells.pop().node.remove();
    this.setStyle(row.gap, "width", `${this.offsets[from] - this.offsets[1]}px`);
    this.setStyle(row.row, "width", this.sheet.style.width);
    row.cells.forEach((cell, at) => {
      const column = at === 0 ? 0 : from + at - 1;
      const width = this.offsets[column + 1] - this.offsets[column];
      this.setStyle(cell.node, "width", `${width}px`);
      if (cell.column === column && cell.columns === this.columns) return;
      cell.column = column;
      cell.columns = this.columns;
      const number = column > 0 && this.columns[column][1];
      cell.node.className =
        "varco-cell" + (column === 0 ? " varco-first" : "") + (number ? " varco-number" : "");
      cell.node.setAttribute("aria-colindex", column + 1);
    });
  }

  mark(cell, isActive) {
    if (cell.isActive === isActive) return;
    cell.isActive = isActive;
    cell.node.classList.toggle("varco-active", isActive);
    if (isActive) cell.node.id = `${this.uid}-active`;
    else cell.node.removeAttribute("id");
  }

  drawHead(from, to) {
    this.prepare(this.head, from, to, () => {
      const node = element("div", "varco-cell", { role: "columnheader" });
      const text = element("span", "");
      const grip = element("div", "varco-grip", { role: "presentation" });
      const cell = { node, text, grip };
      grip.addEventListener("pointerdown", (event) => this.onGrip(event, cell));
      node.append(text, grip);
      return cell;
    });
    const sortBy = this.model.get("sort_by");
    const direction = this.model.get("sort_descending") ? "descending" : "ascending";
    for (const cell of this.head.cells) {
      const name = this.columns[cell.column][0];
      if (cell.text.textContent !== name) cell.text.textContent = cell.node.title = name;
      const sort = sortBy && sortBy === name ? direction : "none";
      if (cell.sort !== sort) cell.node.setAttribute("aria-sort", (cell.sort = sort));
      this.mark(cell, this.inHead && cell.column === this.column);
    }
  }

  drawRow(row, position, from, to, isActive) {
    const known = this.cache.get(this.keyAt(position));
    this.prepare(row, from, to, () => ({
      node: element("div", "varco-cell", { role: "gridcell" }),
      text: "",
    }));
    if (row.position !== position) {
      row.position = position;
      row.row.setAttribute("aria-rowindex", position + 2);
    }
    const odd = this.keyAt(position) % 2 === 1;
    if (row.odd !== odd) row.row.classList.toggle("varco-odd", (row.odd = odd));
    const isMissing = !known;
    if (row.isMissing !== isMissing) {
      row.row.classList.toggle("varco-missing", (row.isMissing = isMissing));
    }
    const isSelected = String(known !== undefined && this.selected.has(known.id));
    if (row.isSelected !== isSelected) {
      row.row.setAttribute("aria-selected", (row.isSelected = isSelected));
    }
    for (const cell of row.cells) {
      const place = cell.column === 0 ? 0 : cell.column - this.span[0];
      const isHere = known && (cell.column === 0 || place > 0) && place < known.cells.length;
      const text = isHere ? known.cells[place] : "…";
      if (cell.text !== text) cell.node.textContent = cell.text = text;
      this.mark(cell, isActive && cell.column === this.column);
    }
  }

  drawFoot() {
    const { total } = this.state;
    const parts = [`${total.toLocaleString("en-US")} ${total === 1 ? "row" : "rows"}`];
    if (this.selected.size) parts.push(`${this.selected.size.toLocaleString("en-US")} selected`);
    if (this.note) parts.push(this.note);
    const text = parts.join(" · ");
    if (this.count.textContent !== text) this.count.textContent = text;
    this.newest.hidden = !this.resume || this.model.get("follow") || this.state.sorted;
  }

  // --- windows of rows --------------------------------------------------------------------------

  request(first, count, from, to) {
    if (this.pending || count <= 0) return;
    const columns = this.columns.length - 1;
    if (columns > ALL_COLUMNS && (from - 1 < this.span[0] || to - 1 > this.span[1])) {
      const start = clamp(from - 1 - 20, 0, columns - ALL_COLUMNS);
      this.span = [start, Math.max(start + ALL_COLUMNS, to - 1)];
      this.cache.clear();
    }
    let [low, high] = [first, first + count - 1];
    if (!this.stale) {
      while (low <= high && this.cache.has(this.keyAt(low))) low++;
      while (high >= low && this.cache.has(this.keyAt(high))) high--;
      if (low > high) return;
    }
    const margin = columns > ALL_COLUMNS ? 20 : 60;
    low = Math.max(0, low - margin);
    high = Math.min(this.state.total - 1, high + margin);
    const keys = [this.keyAt(low), this.keyAt(high)];
    const start = Math.min(...keys);
    const request = `${this.uid}-${++this.requests}`;
    this.stale = false;
    this.pending = { request };
    this.impatience = setTimeout(() => {
      this.pending = null;
      this.schedule();
    }, PATIENCE);
    this.model.send({
      type: "window",
      request,
      generation: this.state.generation,
      start,
      count: Math.max(...keys) - start + 1,
      span: this.span,
      page: Math.ceil(this.visible) + 10,
    });
  }

  // --- scrolling --------------------------------------------------------------------------------

  onScroll() {
    const scroll = this.grid.scrollTop;
    if (Math.abs(scroll - this.expected) >= 1) {
      this.expected = scroll;
      this.top = clamp(this.topOf(scroll), 0, this.lastTop);
      this.noticeFollow();
    }
    this.schedule();
  }

  onWheel(event) {
    if (event.ctrlKey || event.shiftKey || !this.follows()) return;
    const away = this.newestFirst ? event.deltaY > 0 : event.deltaY < 0;
    if (away && this.lastTop > 0) this.setFollow(false);
  }

  noticeFollow() {
    if (this.state.sorted) return;
    const atNewest = this.newestFirst ? this.top < 0.5 : this.top > this.lastTop - 0.5;
    if (this.model.get("follow") && !atNewest) this.setFollow(false);
    else if (!this.model.get("follow") && atNewest && this.resume) this.setFollow(true);
  }

  setFollow(follow) {
    this.resume = !follow;
    this.ownFollow = true;
    this.save({ follow });
    this.ownFollow = false;
  }

  show(position) {
    if (position < this.top) this.top = position;
    else if (position + 1 > this.top + this.visible) this.top = position + 1 - this.visible;
    this.moved = true;
    this.noticeFollow();
  }

  showColumn() {
    if (this.column === 0) return;
    const [left, right] = [this.offsets[this.column], this.offsets[this.column + 1]];
    const room = this.grid.scrollLeft + this.offsets[1];
    if (left < room) this.grid.scrollLeft = left - this.offsets[1];
    else if (right > this.grid.scrollLeft + this.innerWidth) {
      this.grid.scrollLeft = right - this.innerWidth;
    }
  }

  // --- mouse ------------------------------------------------------------------------------------

  rowAt(event) {
    const node = event.target.closest(".varco-body > .varco-row");
    return this.pool.find((row) => row.row === node);
  }

  onMouse(event) {
    if (event.button !== 0) return;
    const node = event.target.closest(".varco-cell");
    const head = this.head.cells.find((cell) => cell.node === node);
    if (head) {
      if (event.target.closest(".varco-grip")) return;
      this.column = head.column;
      this.sort();
      return;
    }
    const row = this.rowAt(event);
    if (!row) return;
    this.inHead = false;
    this.column = row.cells.find((cell) => cell.node === node)?.column ?? this.column;
    const key = this.keyAt(row.position);
    this.pressed = this.cache.get(key)?.id;
    this.active = key;
    if (event.shiftKey) this.extend();
    else if (event.ctrlKey || event.metaKey) this.toggle();
    else this.selectOne();
    this.schedule();
  }

  onDoubleClick(event) {
    if (this.rowAt(event) && this.pressed !== undefined) this.open(this.pressed);
  }

  onGrip(event, cell) {
    event.preventDefault();
    const { grip, column } = cell;
    const name = this.columns[column][0];
    const width = this.offsets[column + 1] - this.offsets[column];
    const start = event.clientX;
    const move = (to) => this.resize(name, width + to.clientX - start);
    grip.setPointerCapture(event.pointerId);
    grip.addEventListener("pointermove", move);
    grip.addEventListener(
      "lostpointercapture",
      () => grip.removeEventListener("pointermove", move),
      { once: true },
    );
  }

  resize(name, width) {
    this.widths.set(name, Math.round(clamp(width, 40, 2000)));
    this.layout();
    this.schedule();
  }

  sort() {
    const name = this.columns[this.column][0];
    const same = this.model.get("sort_by") === name;
    const descending = this.model.get("sort_descending");
    // up, down, and back to the order of arrival
    if (!same) this.save({ sort_by: name, sort_descending: false });
    else if (!descending) this.save({ sort_descending: true });
    else this.save({ sort_by: "", sort_descending: false });
  }

  // --- keyboard ---------------------------------------------------------------------------------

  onKey(event) {
    if (event.altKey) return;
    const command = event.ctrlKey || event.metaKey;
    const handled = command && event.key.length === 1
      ? this.onCommand(event.key.toLowerCase())
      : this.inHead
        ? this.onHeadKey(event)
        : this.onBodyKey(event, command);
    if (!handled) return;
    event.preventDefault();
    event.stopPropagation();
    this.schedule();
  }

  onCommand(key) {
    if (key === "c") this.copy();
    else if (key === "a") this.selectKeys(this.keyAt(0), this.keyAt(this.state.total - 1));
    else return false;
    return true;
  }

  onHeadKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && event.shiftKey) {
      const width = this.offsets[this.column + 1] - this.offsets[this.column];
      this.resize(this.columns[this.column][0], width + 16 * step);
    } else if (step) this.toColumn(this.column + step);
    else if (event.key === "ArrowDown" || event.key === "Escape") this.inHead = false;
    else if (event.key === "Enter" || event.key === " ") this.sort();
    else return false;
    return true;
  }

  onBodyKey(event, command) {
    const position = this.positionOf(this.active);
    const page = Math.max(1, Math.floor(this.visible) - 1);
    const last = this.state.total - 1;
    const target = {
      ArrowUp: position - 1,
      ArrowDown: this.active === null ? 0 : position + 1,
      PageUp: position - page,
      PageDown: position + page,
      Home: 0,
      End: last,
    }[event.key];
    const known = this.cache.get(this.keyAt(position));
    if (target !== undefined) {
      if (event.key === "ArrowUp" && position === 0) this.inHead = true;
      else this.toRow(clamp(target, 0, last), event.shiftKey, command);
    } else if (event.key === "ArrowLeft") this.toColumn(this.column - 1);
    else if (event.key === "ArrowRight") this.toColumn(this.column + 1);
    else if (event.key === " ") this.toggle();
    else if (event.key === "Enter") known ? this.open(known.id) : (this.opening = this.keyAt(position));
    else if (event.key === "Escape" && this.selected.size) this.setSelected([]);
    else return false;
    return true;
  }

  toRow(position, extend, only) {
    if (this.state.total === 0) return;
    if (this.active === null) this.active = this.keyAt(0);
    if (extend) this.anchor ??= this.active;
    this.active = this.keyAt(position);
    this.opening = null;
    this.show(position);
    if (extend) this.extend();
    else if (!only) this.selectOne();
  }

  toColumn(column) {
    this.column = clamp(column, 0, this.columns.length - 1);
    this.showColumn();
  }

  // --- selection --------------------------------------------------------------------------------

  selectOne() {
    this.anchor = this.active;
    this.selectKeys(this.active, this.active);
  }

  extend() {
    this.anchor ??= this.active;
    this.selectKeys(this.anchor, this.active);
  }

  toggle() {
    if (this.active === null && this.state.total) this.active = this.keyAt(0);
    const known = this.cache.get(this.active);
    if (!known) return;
    this.anchor = this.active;
    const ids = new Set(this.selected);
    if (!ids.delete(known.id)) ids.add(known.id);
    this.setSelected([...ids]);
  }

  // Shown at once where the rows are known; Python knows all of them.
  selectKeys(one, other) {
    if (this.state.total === 0) return;
    const [start, last] = [Math.min(one, other), Math.max(one, other)];
    const ids = [];
    for (let key = start; key <= last && last - start < KEPT; key++) {
      const known = this.cache.get(key);
      if (!known) break;
      ids.push(known.id);
    }
    if (ids.length === last - start + 1) {
      this.setSelected(this.newestFirst ? ids.reverse() : ids);
      return;
    }
    clearTimeout(this.saving);
    this.saving = null;
    const { generation } = this.state;
    this.model.send({ type: "select", start, stop: last + 1, generation });
  }

  setSelected(ids) {
    this.selected = new Set(ids);
    this.schedule();
    clearTimeout(this.saving);
    this.saving = null;
    const known = this.model.get("selected");
    if (ids.length === known.length && ids.every((id, at) => id === known[at])) return;
    // a key that is held down is one change, not thirty a second
    this.saving = setTimeout(() => {
      this.saving = null;
      this.save({ selected: ids });
    }, 60);
  }

  open(id) {
    this.model.send({ type: "open", id });
  }

  save(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }

  copy() {
    if (this.saving) {
      clearTimeout(this.saving);
      this.saving = null;
      this.save({ selected: [...this.selected] });
    }
    this.copying = `${this.uid}-${++this.requests}`;
    this.model.send({ type: "copy", request: this.copying });
  }

  async toClipboard(text) {
    this.note = (await copy(text)) ? "copied" : "the browser refused to copy";
    this.schedule();
    setTimeout(() => {
      this.note = "";
      this.schedule();
    }, 2000);
  }
}

function render({ model, el }) {
  const table = new Table(model, el);
  return () => table.dispose();
}

export default { render };

// A table that holds only the rows in sight and asks Python for windows of the others.

import "./table.css";
import { button, copy, element, showText } from "../common/dom.js";
import { listen, onChange, save, widgetOf } from "../common/model.js";
import { clamp } from "../common/numbers.js";
import { Redraw } from "../common/redraw.js";
import { hide, move, widen } from "./arrange.js";
import { textOf, wholeOf } from "./cells.js";
import { choicesOfColumn, choicesOfValue } from "./choices.js";
import { Columns } from "./columns.js";
import { Exchange } from "./exchange.js";
import { Find } from "./find.js";
import { Follow } from "./follow.js";
import { Foot } from "./foot.js";
import { commandOf, hasControl } from "./keys.js";
import { Menu } from "./menu.js";
import { Rows } from "./rows.js";
import { Selection } from "./selection.js";
import { Sheet } from "./sheet.js";
import { Viewport } from "./viewport.js";

/**
 * @typedef {object} State
 * @property {number} height
 * @property {import("./rows.js").Id[]} selected
 * @property {boolean} follow
 * @property {boolean} newest_first
 * @property {string} sort_by
 * @property {boolean} sort_descending
 * @property {string} error
 * @property {import("./arrange.js").Arrangement} arrangement
 * @property {boolean} loading
 * @property {boolean} is_page
 * @property {string} label
 * @property {boolean} can_filter
 * @property {import("./columns.js").Column[]} _columns
 * @property {import("./rows.js").Extent & import("./rows.js").Part & Layout} _window
 */

/**
 * @typedef {object} Layout
 * @property {number} pinned how many columns are
 * @property {string[]} hidden columns that the user hid
 * @property {string[]} empty columns without a value
 * @property {Record<string, string>} days as in `Columns`
 */

const DRAG = 6; // pixels that a head is moved before it is dragged
const RESIZE = 16; // pixels that a key changes the width of a column by
const NOTE = 2000; // ms that a note is shown

class Table {
  rows = new Rows();
  columns = new Columns();
  viewport = new Viewport();
  note = "";
  /** @type {import("./rows.js").Id | undefined} */
  pressed; // the row that the mouse was pressed on
  /** @type {HTMLElement | undefined} */
  hovered; // the cell that the mouse is over
  isCopying = false; // whether a cell was asked for to be copied
  /** @type {number | null} */
  opening = null; // key of a row that is opened as soon as it is here

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
    // for the mouse alone, and not in the name of the cell; the menu key does the same
    const silent = { tabindex: "-1", "aria-hidden": "true", title: "Menu" };
    this.more = button("", () => this.openMenu(), { class: "varco-more", ...silent });
    this.find = new Find({
      ask: (text) => this.exchange.askFind(text),
      go: ([key, column]) => this.toCell(key, column),
      onClose: () => {
        this.grid.focus();
        this.schedule();
      },
    });
    this.foot = new Foot({
      onNewest: () => {
        this.follow.set(true);
        this.grid.focus();
      },
      onEmpty: () =>
        this.arrange({ ...this.arrangement, show_empty: !this.arrangement.show_empty }),
      onHidden: () => this.arrange({ ...this.arrangement, hidden: [] }),
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
      "msg:custom": (message) => this.onMessage(message),
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
    this.fonts = new ResizeObserver(() => this.schedule()); // its height is that of the font
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
      model.get("sort_descending"),
    );
    const { empty = [], hidden = [] } = model.get("_window");
    const said = {
      total: this.rows.total,
      selected: this.selection.ids.size,
      sortBy: this.rows.extent.sorted ? model.get("sort_by") : "",
      isDescending: model.get("sort_descending"),
      isPage: model.get("is_page"),
      days: columns.days,
      note: this.note,
    };
    this.foot.draw(said, empty, !!this.arrangement.show_empty, hidden);
    this.foot.newest.hidden = !this.follow.isOffered;
    this.request(shown);
  }

  // --- what Python says -------------------------------------------------------------------------

  onWindow() {
    const { model, rows, viewport } = this;
    const next = model.get("_window");
    if (next.generation === undefined) return;
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
    // taken out of the page, it is at the top, and hears of that if it was scrolled just before
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
    // JupyterLab would select cells of the notebook, and the browser text
    if (event.shiftKey) {
      event.preventDefault();
      event.stopPropagation();
      this.grid.focus({ preventScroll: true });
    }
    if (/** @type {Node} */ (event.target) === this.more) return;
    const { line, cell } = this.sheet.under(event);
    if (!line || this.model.get("loading")) return;
    const { id } = line; // of what is seen, also where newer rows come with the next frame
    this.sheet.inHead = false;
    this.sheet.column = cell?.column ?? this.sheet.column;
    this.pressed = id;
    this.selection.active = this.rows.keyOf(line);
    if (this.selection.active === null && id !== undefined) this.selection.select([id]);
    else if (event.shiftKey) this.selection.extend();
    else if (hasControl(event)) this.selection.toggle();
    else this.selection.selectActive();
    this.schedule();
  }

  /** @param {MouseEvent} event */
  onDoubleClick(event) {
    const isHere = this.sheet.under(event).line && !this.model.get("loading");
    if (isHere && this.pressed !== undefined) this.open(this.pressed);
  }

  /** @param {PointerEvent} event */
  onHead(event) {
    const { head, isGrip } = this.sheet.under(event);
    if (!head || event.button !== 0 || event.target === this.more) return;
    const { column } = head;
    const node = isGrip ? /** @type {HTMLElement} */ (event.target) : head.node;
    const width = this.columns.widthOf(column);
    let isDragged = false;
    if (isGrip) event.preventDefault();
    /** @param {PointerEvent} to */
    const onMove = (to) => {
      isDragged ||= Math.abs(to.clientX - event.clientX) > DRAG;
      if (isGrip) this.resize(column, width + to.clientX - event.clientX);
      else this.grid.classList.toggle("varco-dragging", isDragged);
    };
    /** @param {PointerEvent} to */
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
    this.hovered = head ? undefined : over.node;
    over.node.append(this.more);
    const id = line?.id;
    const value = line && this.valueAt(line, over.column);
    if (value === undefined || id === undefined) return;
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
    const box = (under ? this.more : (cell?.node ?? this.grid)).getBoundingClientRect();
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
      arrangement,
    };
    return choicesOfColumn(about, {
      sort: (name, isDescending) =>
        save(this.model, { sort_by: name, sort_descending: isDescending }),
      move: (by) => this.moveColumn(column, column + by),
      hide: () => this.arrange(hide(arrangement, about.name)),
      arrange: (next) => this.arrange(next),
    });
  }

  valueChoices() {
    const { sheet, selection } = this;
    const position = this.rows.positionOf(selection.active);
    const id = this.rows.get(this.rows.keyAt(position))?.id;
    const column = this.columns.name(sheet.column);
    return choicesOfValue(this.model.get("can_filter") && id !== undefined, {
      pick: (exclude) => this.model.send({ type: "pick", id, column, exclude }),
      copyValue: () => {
        this.isCopying = true;
        if (id !== undefined) this.exchange.askCell(id, column);
      },
      copyRows: () => this.copy(),
      find: () => this.find.open(),
      open: () => this.openAt(position),
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
    // up, down, and back to the order of arrival
    if (!isSame) save(this.model, { sort_by: name, sort_descending: false });
    else if (!this.model.get("sort_descending")) save(this.model, { sort_descending: true });
    else save(this.model, { sort_by: "", sort_descending: false });
  }

  // --- keyboard ---------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const command = commandOf(event, this.sheet.inHead);
    if (!command || (command === "clear" && !this.selection.ids.size)) return;
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
    /** @param {number} wanted */
    const go = (wanted) => this.toRow(wanted, event.shiftKey, hasControl(event));
    /** @param {number} by */
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
      moveRight: () => this.moveColumn(sheet.column, sheet.column + 1),
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
    this.note = (await copy(text)) ? "copied" : "the browser refused to copy";
    this.schedule();
    setTimeout(() => {
      this.note = "";
      this.schedule();
    }, NOTE);
  }
}

export default widgetOf(Table);

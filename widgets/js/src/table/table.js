// A table that holds only the rows in sight and asks Python for windows of the others.

import "./table.css";
import { button, copy, element, showText } from "../common/dom.js";
import { listen, onChange, save, widgetOf } from "../common/model.js";
import { clamp } from "../common/numbers.js";
import { Redraw } from "../common/redraw.js";
import { Columns } from "./columns.js";
import { Exchange } from "./exchange.js";
import { Follow } from "./follow.js";
import { commandOf, hasControl } from "./keys.js";
import { Rows } from "./rows.js";
import { Selection } from "./selection.js";
import { Foot, Sheet } from "./sheet.js";
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
 * @property {import("./columns.js").Column[]} _columns
 * @property {import("./rows.js").Extent & import("./rows.js").Part} _window
 */

const RESIZE = 16; // pixels that a key changes the width of a column by
const NOTE = 2000; // ms that a note is shown

class Table {
  rows = new Rows();
  columns = new Columns();
  viewport = new Viewport();
  note = "";
  /** @type {import("./rows.js").Id | undefined} */
  pressed; // the row that the mouse was pressed on
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
      "msg:custom": (message) => this.onMessage(message),
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
      model.get("sort_descending"),
    );
    this.foot.draw(this.rows.total, this.selection.ids.size, this.note);
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
    if (this.sheet.under(event).line && this.pressed !== undefined) this.open(this.pressed);
  }

  /** @param {PointerEvent} event */
  onGrip(event) {
    const { head, isGrip } = this.sheet.under(event);
    if (!head || !isGrip) return;
    event.preventDefault();
    const grip = /** @type {HTMLElement} */ (event.target);
    const { column } = head;
    const width = this.columns.widthOf(column);
    /** @param {PointerEvent} to */
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
      clear: () => selection.select([]),
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
    this.note = (await copy(text)) ? "copied" : "the browser refused to copy";
    this.schedule();
    setTimeout(() => {
      this.note = "";
      this.schedule();
    }, NOTE);
  }
}

export default widgetOf(Table);

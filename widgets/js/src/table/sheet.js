// The page of a table: its head, and as many rows as are in sight, used again as they scroll.

import { element, OWN_KEYS, setText } from "../common/dom.js";
import { clamp } from "../common/numbers.js";
import { hasText, textOf } from "./cells.js";

const FONT = 13; // pixels
const IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/;
const ROW = 24; // pixels of a row in a font of that size

/**
 * @typedef {object} Cell
 * @property {HTMLElement} node
 * @property {HTMLElement} label what has the text
 * @property {HTMLImageElement} [image]
 * @property {number} column
 * @property {unknown} list the columns it was made for
 * @property {boolean} isActive
 * @property {boolean} isFound whether it has the text that is looked for
 */

/**
 * @typedef {object} Line
 * @property {HTMLElement} node
 * @property {HTMLElement} gap instead of the columns before those in sight
 * @property {Cell[]} cells
 * @property {number} position
 * @property {number} key as it was drawn, as `id` is
 * @property {import("./rows.js").Id | undefined} id undefined while its row is not known
 */

let sheets = 0;

export class Sheet {
  uid = `varco-table-${++sheets}-${Math.random().toString(36).slice(2, 8)}`;
  width = 0; // of what is seen, in pixels
  expected = 0; // where the scroll bar was put
  column = 0; // of the active cell; 0 is the index
  inHead = false; // whether the active cell is
  needle = ""; // the text that is looked for, in lower case
  #fixed = 1; // columns that stay in sight, the index included
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
      ...OWN_KEYS,
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
    const ink = /** @type {CanvasRenderingContext2D} */ (
      document.createElement("canvas").getContext("2d")
    );
    const { fontSize, fontFamily } = getComputedStyle(this.body);
    ink.font = `${fontSize} ${fontFamily}`;
    return (/** @type {string} */ text) => ink.measureText(text).width;
  }

  /**
   * Takes the room that rows and columns need.
   *
   * @param {number} height in pixels at most
   */
  size(height) {
    const { grid, viewport } = this;
    const { width } = this.columns;
    const scale = Number.parseFloat(getComputedStyle(this.body).fontSize) / FONT;
    const row = Math.round(ROW * scale);
    if (viewport.row !== row) viewport.isMoved = true;
    viewport.row = row;
    setStyle(grid, "lineHeight", `${row}px`);
    const bar = grid.offsetHeight - grid.clientHeight; // borders and scroll bar
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
    const isShown = this.inHead || (active >= first && active < first + count);
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
    return this.around(/** @type {Element} */ (event.target));
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
      isGrip: target.closest(".varco-grip") !== null,
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
      const isFound = this.needle !== "" && hasText(value, this.needle, day !== undefined);
      if (cell.isFound === isFound) continue;
      cell.isFound = isFound;
      cell.node.classList.toggle("varco-found", isFound);
    }
  }
}

/**
 * Shows a value in a cell. Nothing of it is markup, and an image is one of pixels.
 *
 * @param {{node: HTMLElement, label: HTMLElement, image?: HTMLImageElement}} cell
 * @param {import("./cells.js").Value} value
 * @param {string | undefined} day
 */
function show(cell, value, day) {
  setText(cell.label, textOf(value, day));
  const address = typeof value === "string" || !IMAGE.test(value[1]) ? "" : value[1];
  if (!address) {
    cell.image?.remove();
    cell.image = undefined;
    return;
  }
  if (!cell.image) {
    cell.image = element("img", "varco-thumbnail", { alt: "", decoding: "async" });
    cell.label.before(cell.image);
  }
  if (cell.image.src !== address) cell.image.src = address;
}

/**
 * @param {string} className
 * @returns {Line}
 */
function makeLine(className) {
  const node = element("div", `varco-row ${className}`, { role: "row" });
  const gap = element("div", "varco-gap", { role: "presentation" });
  node.append(gap);
  return { node, gap, cells: [], position: -1, key: -1, id: undefined };
}

/**
 * @param {HTMLElement} node
 * @param {"width" | "height" | "left" | "lineHeight"} name
 * @param {string} value
 */
function setStyle(node, name, value) {
  if (node.style[name] !== value) node.style[name] = value;
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {string} value
 */
function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// What happened to messages, on a lane for each process that took part.

import "./lanes.css";
import { fitted, strokeLine } from "../common/canvas.js";
import { button, element, OWN_KEYS, setText, showText } from "../common/dom.js";
import { Drawing } from "../common/drawing.js";
import { onChange, save, widgetOf } from "../common/model.js";
import { drawAxis, drawBands, drawFaults, drawLanes } from "./backdrop.js";
import { Legend } from "./legend.js";
import { Marks } from "./marks.js";
import { Pointer } from "./pointer.js";
import { Scale } from "./scale.js";
import { Sight } from "./sight.js";
import { Steps } from "./steps.js";
import { drawLinks, drawMarks } from "./ways.js";
import { pictureWords, tipWords, wayWords } from "./words.js";

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {import("./marks.js").Batch} Batch */

/**
 * @typedef {object} State
 * @property {string} title
 * @property {string} note
 * @property {"time" | "order" | "time only"} axis
 * @property {number} lane_height
 * @property {number} selected the number of an event; 0 for none
 * @property {number} position how many rows of the record are shown; -1 for all
 * @property {boolean} live
 * @property {string} error
 * @property {string[]} _kinds
 * @property {import("./scale.js").Lane[]} _lanes
 * @property {[look: string, count: number][]} _counts
 * @property {import("./sight.js").Band[]} _bands
 * @property {string[]} _faults the newest in words
 * @property {Batch} _base
 * @property {Batch} _tail
 */

const ZOOM = 1.6;
const MAX_LABEL = 170; // pixels

/** @extends {Drawing<State>} */
export class Lanes extends Drawing {
  sight = new Sight();
  legend = new Legend();
  /** @type {Scale | null} */
  scale = null;
  /** @type {number | null} */
  pointed = null; // the mark under the pointer
  /** @type {Map<number, string>} */
  answers = new Map(); // what the kernel knows of marks, by row of the record
  isStale = true; // the kernel has sent other marks
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  asking;

  /**
   * @param {import("../common/model.js").Model<State>} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    const plot = element("canvas", "varco-plot varco-lanes-plot", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "timeline",
      ...OWN_KEYS,
    });
    super(model, el, "varco-lanes", plot);
    this.plot = plot;
    this.over = element("canvas", "varco-lanes-over", { "aria-hidden": "true" });
    this.title = element("span", "varco-title");
    this.note = element("div", "varco-lanes-note");
    this.way = element("div", "varco-lanes-way", { "aria-live": "polite" });
    this.byTime = this.axisButton("Time", "time", "Places show when it happened");
    this.byOrder = this.axisButton("Order", "order", "One step after the other");
    const head = element("div", "varco-lanes-head");
    const tools = element("span", "varco-lanes-tools", { role: "group", "aria-label": "View" });
    const stage = element("div", "varco-stage");
    const out = { "aria-label": "Zoom out", title: "Zoom out (−)" };
    const into = { "aria-label": "Zoom in", title: "Zoom in (+)" };
    tools.append(
      this.byTime,
      this.byOrder,
      button("−", () => this.zoom(ZOOM), out),
      button("+", () => this.zoom(1 / ZOOM), into),
      button("Fit", () => this.fit(), { title: "Show all of it (0)" }),
    );
    head.append(this.title, tools);
    stage.append(plot, this.over, this.tip);
    el.append(head, this.legend.node, stage, this.note, this.way, this.error);
    this.steps = new Steps(model);
    this.pointer = new Pointer(this, plot);
    const traits = ["title", "note", "selected", "position", "live", "error", "lane_height"];
    this.listen({
      // both come with one message of the kernel, and are read once
      ...onChange(["_base", "_tail"], () => this.read()),
      ...onChange([...traits, "_lanes", "_counts", "_bands", "_faults"], () => this.schedule()),
      "change:axis": () => this.fit(),
      "msg:custom": (message) => this.onMessage(message),
    });
    plot.addEventListener("keydown", (event) => this.onKey(event));
    plot.addEventListener("blur", () => this.point(null));
    this.endings.push(() => clearTimeout(this.asking));
    this.read();
  }

  /**
   * @param {string} label
   * @param {"time" | "order"} axis
   * @param {string} title
   */
  axisButton(label, axis, title) {
    return button(label, () => save(this.model, { axis }), { title });
  }

  read() {
    this.isStale = true;
    this.schedule();
  }

  /** @param {any} message */
  onMessage(message) {
    if (message.type !== "about") return;
    this.answers.set(message.n, message.text);
    this.schedule();
  }

  // --- what the user does -----------------------------------------------------------------------

  fit() {
    this.sight.fit();
    this.schedule();
  }

  /**
   * @param {number} factor below 1 shows less
   * @param {number} [around] a place; by default that of the current mark, if it is in sight
   */
  zoom(factor, around) {
    const [low, high] = this.sight.range;
    const { current } = this.steps;
    const place = current === null || !this.scale ? Number.NaN : this.scale.placeOf(current);
    this.sight.zoom(factor, around ?? (place >= low && place <= high ? place : undefined));
    this.schedule();
  }

  /** @param {number} share of what is in sight */
  pan(share) {
    this.sight.pan(share);
    this.schedule();
  }

  /** @param {number | null} mark */
  point(mark) {
    if (this.pointed === mark) return;
    this.pointed = mark;
    this.ask(mark);
    this.schedule();
  }

  /**
   * What the page does not know about a mark, the kernel does.
   *
   * @param {number | null} mark
   */
  ask(mark) {
    clearTimeout(this.asking);
    if (mark === null) return;
    const n = this.steps.marks.n[mark];
    if (this.answers.has(n)) return;
    this.asking = setTimeout(() => this.model.send({ type: "about", n }), 60);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const { steps } = this;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowRight: () => (event.shiftKey ? this.pan(0.2) : this.arrive(steps.step(1))),
      ArrowLeft: () => (event.shiftKey ? this.pan(-0.2) : this.arrive(steps.step(-1))),
      ArrowDown: () => steps.follow(1),
      ArrowUp: () => steps.follow(-1),
      Home: () => this.arrive(steps.goTo(0)),
      End: () => steps.goToEnd(),
      Enter: () => steps.choose(this.pointed ?? steps.current),
      Escape: () => (this.pointed === null ? save(this.model, { selected: 0 }) : this.point(null)),
      "+": () => this.zoom(1 / ZOOM),
      "=": () => this.zoom(1 / ZOOM),
      "-": () => this.zoom(ZOOM),
      0: () => this.fit(),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  /** @param {number | null} mark that the steps have come to */
  arrive(mark) {
    this.point(null);
    this.ask(mark);
  }

  // --- drawing ----------------------------------------------------------------------------------

  draw() {
    const { model } = this;
    if (this.isStale) {
      this.isStale = false;
      this.steps.marks = new Marks(model.get("_kinds"), model.get("_base"), model.get("_tail"));
      this.pointed = null;
      this.answers.clear();
    }
    this.drawWords();
    this.sight.byTime = model.get("axis") !== "order";
    this.sight.isLive = model.get("live");
    this.sight.measure(this.steps.marks.time, model.get("_bands"));
    this.scale = this.drawPicture();
    this.drawOver(this.scale);
  }

  drawWords() {
    const { model } = this;
    const { marks, shown } = this.steps;
    const axis = model.get("axis");
    showText(this.title, model.get("title"));
    showText(this.note, model.get("note"));
    const way = wayWords(marks, model.get("_lanes"), model.get("selected"), shown);
    showText(this.way, axis === "time only" ? "" : way);
    this.byTime.setAttribute("aria-pressed", String(axis === "time"));
    this.byOrder.setAttribute("aria-pressed", String(axis === "order"));
    this.byTime.hidden = this.byOrder.hidden = axis === "time only";
    this.legend.draw(this, model.get("_counts"));
  }

  drawPicture() {
    const { model, sight } = this;
    const { marks, shown } = this.steps;
    const [lanes, bands, faults] = [model.get("_lanes"), model.get("_bands"), model.get("_faults")];
    const selected = model.get("selected");
    const width = this.widthOf(this.plot);
    const labels = this.labels(lanes, width);
    const scale = new Scale({
      marks,
      lanes,
      laneHeight: model.get("lane_height"),
      byTime: sight.byTime,
      isSpread: model.get("axis") !== "time only",
      range: sight.range,
      width,
      labelWidth: labels.width,
    });
    const { context } = this.canvas(this.plot, scale.height);
    drawLanes(context, this, scale, labels.texts);
    drawAxis(context, this, scale);
    if (marks.length) {
      context.save();
      context.beginPath();
      context.rect(scale.left - 8, 0, width - scale.left + 8, scale.bottom);
      context.clip();
      drawBands(context, this, scale, bands);
      drawFaults(context, this, scale, faults, shown);
      drawLinks(context, this, scale, shown, selected);
      drawMarks(context, this, scale, shown, selected);
      context.restore();
    } else {
      context.fillStyle = this.dim;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText("nothing happened yet", (scale.left + width) / 2, scale.height / 2);
    }
    const [title, note] = [model.get("title"), model.get("note")];
    const words = pictureWords({ title, lanes, marks, shown, sight, bands, faults, note });
    this.plot.setAttribute("aria-label", words);
    return scale;
  }

  /**
   * The names of lanes, as far as they have room, and the width of the widest.
   *
   * @param {import("./scale.js").Lane[]} lanes
   * @param {number} width of the picture
   */
  labels(lanes, width) {
    const context = this.contextOf(this.plot);
    const room = Math.min(MAX_LABEL, width / 4);
    const texts = lanes.map(([, name]) => fitted(context, name, room));
    const widest = Math.max(30, ...texts.map((text) => context.measureText(text).width));
    return { texts, width: Math.ceil(widest) };
  }

  /**
   * Draws what goes with the pointer and the steps, above the picture.
   *
   * @param {Scale} scale
   */
  drawOver(scale) {
    const { context } = this.canvas(this.over, scale.height);
    const { top, bottom } = scale;
    const { marks, current } = this.steps;
    const mark = this.pointed ?? current;
    const marked = this.pointer.marked;
    this.tip.hidden = true;
    if (marked) {
      context.fillStyle = this.accent;
      context.globalAlpha = 0.18;
      context.fillRect(marked[0], top, marked[1] - marked[0], bottom - top);
      context.globalAlpha = 1;
    }
    if (mark === null || mark >= marks.length) return;
    context.strokeStyle = this.accent;
    if (current !== null) {
      const now = scale.xOf(current);
      context.lineWidth = 1;
      strokeLine(context, now, top, now, bottom);
    }
    const [x, y] = [scale.xOf(mark), scale.yOf(mark)];
    if (!scale.isInSight(x)) return;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.stroke();
    const [lanes, faults] = [this.model.get("_lanes"), this.model.get("_faults")];
    const known = this.answers.get(marks.n[mark]);
    setText(this.tip, tipWords(marks, lanes, faults, mark, known));
    this.tip.hidden = false;
    this.showTipAt({ x, y: Math.max(0, y - 10), width: scale.width, distance: 14 });
  }
}

export default widgetOf(Lanes);

// Histograms of durations on one logarithmic scale.

import { strokeLine, thinPen } from "../common/canvas.js";
import { element, setText } from "../common/dom.js";
import { Drawing } from "../common/drawing.js";
import { drawMark, lookOf } from "../common/looks.js";
import { onChange, widgetOf } from "../common/model.js";
import { duration } from "../common/times.js";

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {(seconds: number) => number} Scale gives pixels from the left */

/**
 * @typedef {object} Spread
 * @property {string} name
 * @property {string} look
 * @property {number[]} counts in each bin
 * @property {number} count
 * @property {number} median in seconds
 * @property {number} p95
 * @property {number} longest
 */

/**
 * @typedef {object} State
 * @property {string} title
 * @property {string} error
 * @property {number[]} _edges of the bins, in seconds
 * @property {Spread[]} _spreads
 */

const TOP = 4;
const BOTTOM = 20;
const ROW = 54;
const LEFT = 150;
const RIGHT = 14;

/** @extends {Drawing<State>} */
class Durations extends Drawing {
  /** @type {Scale | null} */
  scale = null;

  /**
   * @param {import("../common/model.js").Model<State>} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    const plot = element("canvas", "varco-plot", { role: "img" });
    super(model, el, "varco-durations", plot);
    this.plot = plot;
    this.title = element("div", "varco-title");
    const stage = element("div", "varco-stage");
    stage.append(plot, this.tip);
    el.append(this.title, stage, this.error);
    this.listen(onChange(["_edges", "_spreads", "title", "error"], () => this.schedule()));
    plot.addEventListener("pointermove", (event) => this.hover(event));
    plot.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
    });
    this.schedule();
  }

  draw() {
    setText(this.title, this.model.get("title"));
    const edges = this.model.get("_edges");
    const spreads = this.model.get("_spreads");
    const wanted = TOP + Math.max(1, spreads.length) * ROW + BOTTOM;
    const { context, width, height } = this.canvas(this.plot, wanted);
    this.plot.setAttribute("aria-label", spreads.map(inWords).join("; ") || "no durations");
    context.textBaseline = "middle";
    this.scale = null;
    if (!spreads.some(({ count }) => count)) {
      context.fillStyle = this.dim;
      context.textAlign = "center";
      context.fillText("nothing was stored yet", width / 2, height / 2);
      return;
    }
    const [low, high] = [edges[0], edges[edges.length - 1]].map(Math.log10);
    const room = width - LEFT - RIGHT;
    const scale = (/** @type {number} */ seconds) =>
      LEFT + ((Math.log10(seconds) - low) / (high - low || 1)) * room;
    this.scale = scale;
    this.drawAxis(context, scale, edges, height, width);
    spreads.forEach((spread, row) => {
      this.drawSpread(context, scale, edges, spread, TOP + (row + 1) * ROW - 4);
    });
  }

  /**
   * @param {Context} context
   * @param {Scale} scale
   * @param {number[]} edges
   * @param {number} height
   * @param {number} width
   */
  drawAxis(context, scale, edges, height, width) {
    thinPen(context, this.line);
    context.fillStyle = this.dim;
    context.textAlign = "center";
    let free = 0;
    for (const seconds of ticks(edges)) {
      const x = Math.round(scale(seconds)) + 0.5;
      strokeLine(context, x, TOP, x, height - BOTTOM + 3);
      const label = duration(rounded(seconds));
      const half = context.measureText(label).width / 2;
      if (x - half < free || x + half > width) continue;
      context.fillText(label, x, height - 8);
      free = x + half + 8;
    }
  }

  /**
   * @param {Context} context
   * @param {Scale} scale
   * @param {number[]} edges
   * @param {Spread} spread
   * @param {number} base the lower end of its bars
   */
  drawSpread(context, scale, edges, { name, look, counts, count, median, p95 }, base) {
    context.textAlign = "left";
    context.fillStyle = this.text;
    context.fillText(name, 24, base - 34);
    drawMark(context, look, 11, base - 34, 4.5, this);
    context.fillStyle = this.dim;
    const stats = count ? [`median ${duration(median)}`, `p95 ${duration(p95)}`] : ["none yet"];
    stats.forEach((text, row) => {
      context.fillText(text, 24, base - 19 + row * 14);
    });
    const highest = Math.max(1, ...counts);
    context.fillStyle = this.colors[lookOf(look).color];
    counts.forEach((value, bin) => {
      if (!value) return;
      const [from, to] = [scale(edges[bin]), scale(edges[bin + 1])];
      const width = Math.max(2, to - from - 1);
      const tall = Math.max(2, (value / highest) * (ROW - 12));
      context.globalAlpha = 0.45;
      context.fillRect(from + 0.5, base - tall, width, tall);
      context.globalAlpha = 1;
      context.fillRect(from + 0.5, base - tall, width, 2);
    });
    context.strokeStyle = this.line;
    strokeLine(context, LEFT, base + 0.5, scale(edges[edges.length - 1]), base + 0.5);
  }

  /** @param {PointerEvent} event */
  hover(event) {
    const { scale } = this;
    const { x, y } = this.placeOf(event);
    this.tip.hidden = true;
    if (!scale) return;
    const edges = this.model.get("_edges");
    const spread = this.model.get("_spreads")[Math.floor((y - TOP) / ROW)];
    const bin = edges.findIndex(
      (edge, index) => index && scale(edges[index - 1]) <= x && x < scale(edge),
    );
    if (!spread || bin < 1) return;
    const [from, to] = [edges[bin - 1], edges[bin]].map(rounded).map(duration);
    const lines = [
      `${spread.name}: ${spread.counts[bin - 1]} of ${spread.count} events`,
      `${from} to ${to}`,
    ];
    if (spread.count) lines.push(`longest ${duration(spread.longest)}`);
    setText(this.tip, lines.join("\n"));
    this.tip.hidden = false;
    this.showTipAt({ x, y, width: this.widthOf(this.plot), distance: 14 });
  }
}

/** @param {number} seconds */
const rounded = (seconds) => Number(seconds.toPrecision(3));

/** @param {Spread} spread */
function inWords({ name, count, median, p95, longest }) {
  if (!count) return `${name}: 0 events`;
  const stats = `median ${duration(median)}, p95 ${duration(p95)}, longest ${duration(longest)}`;
  return `${name}: ${count} events, ${stats}`;
}

/**
 * Round durations between the outer edges.
 *
 * @param {number[]} edges
 */
function ticks(edges) {
  const [low, high] = [edges[0], edges[edges.length - 1]];
  const units = Math.log10(high / low) < 1.5 ? [1, 2, 5] : [1];
  const found = [];
  for (let power = -6; power <= 6; power++) {
    found.push(...units.map((unit) => unit * 10 ** power));
  }
  return found.filter((seconds) => seconds >= low * 0.999 && seconds <= high * 1.001);
}

export default widgetOf(Durations);

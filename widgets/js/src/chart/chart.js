// Lines over time on a canvas.

import "./chart.css";
import { strokeLine, thinPen } from "../common/canvas.js";
import { lineColors } from "../common/colors.js";
import { element, OWN_KEYS, setText } from "../common/dom.js";
import { Drawing } from "../common/drawing.js";
import { onChange, widgetOf } from "../common/model.js";
import { clamp, nearestIndex, numbersOf } from "../common/numbers.js";
import { moment, timeLabel, timeTicks, zone } from "../common/times.js";
import { BOTTOM, scaleOf, TOP, valueLabel } from "./scale.js";

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {import("../common/numbers.js").Bytes} Bytes */

/**
 * @typedef {object} State
 * @property {string} title
 * @property {string} unit
 * @property {number} height
 * @property {boolean} from_zero
 * @property {string} error
 * @property {{name: string, times: Bytes, values: Bytes}[]} _series
 */

const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const BESIDE = 12; // pixels between two labels of the time axis

/** @extends {Drawing<State>} */
class Chart extends Drawing {
  /** @type {import("./scale.js").Series[]} */
  series = [];
  /** @type {import("./scale.js").Scale | null} */
  scale = null;
  /** @type {number | null} */
  time = null; // that the pointer or the keys are at
  /** @type {{node: HTMLElement, swatch: HTMLCanvasElement, label: HTMLElement}[]} */
  keys = [];

  /**
   * @param {import("../common/model.js").Model<State>} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    const plot = element("canvas", "varco-plot", { tabindex: "0", role: "img", ...OWN_KEYS });
    super(model, el, "varco-chart", plot);
    this.plot = plot;
    this.head = element("div", "varco-chart-head");
    this.title = element("span", "varco-title");
    this.unit = element("span", "varco-chart-unit");
    this.zone = element("span", "varco-chart-zone");
    this.head.append(this.title, this.unit, this.zone);
    el.append(this.head, plot, this.tip, this.error);
    this.listen({
      "change:_series": () => this.read(),
      ...onChange(["title", "unit", "height", "from_zero", "error"], () => this.schedule()),
    });
    plot.addEventListener("pointermove", (event) => this.hover(this.placeOf(event).x));
    plot.addEventListener("pointerleave", () => this.hover(null));
    plot.addEventListener("blur", () => this.hover(null));
    plot.addEventListener("keydown", (event) => this.onKey(event));
    this.read();
  }

  read() {
    this.series = this.model.get("_series").map(({ name, times, values }) => ({
      name,
      times: numbersOf(Float64Array, times),
      values: numbersOf(Float64Array, values),
    }));
    this.schedule();
  }

  /** @param {number | null} x */
  hover(x) {
    this.time = x === null || !this.scale ? null : this.scale.time(x);
    this.schedule();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const times = this.series[0]?.times;
    if (event.key === "Escape") this.hover(null);
    if (!step || !times?.length) return;
    event.preventDefault();
    event.stopPropagation();
    const index = this.time === null ? times.length : nearestIndex(times, this.time);
    this.time = times[clamp(index + step, 0, times.length - 1)];
    this.schedule();
  }

  draw() {
    this.drawHead();
    const { context, width, height } = this.canvas(this.plot, this.model.get("height"));
    const widthOf = (/** @type {number} */ value, /** @type {number} */ step) =>
      context.measureText(valueLabel(value, step)).width;
    const scale = scaleOf(this.series, width, height, widthOf, this.model.get("from_zero"));
    this.scale = scale;
    context.fillStyle = this.dim;
    context.textBaseline = "middle";
    if (scale) {
      this.drawValues(context, scale);
      this.drawTimes(context, scale, width, height);
      this.series.forEach((_, index) => {
        this.drawSeries(context, scale, index);
      });
      if (this.time !== null) this.drawHover(context, scale, this.time, height);
    } else {
      context.textAlign = "center";
      context.fillText("no data yet", width / 2, height / 2);
    }
    this.drawTip(width);
  }

  /**
   * @param {Context} context
   * @param {number} index of a series
   */
  pen(context, index) {
    const colors = lineColors(this.isDark);
    context.strokeStyle = context.fillStyle = colors[index % colors.length];
    // past the last colour the same ones come with another dash
    const round = Math.floor(index / colors.length);
    context.setLineDash(DASHES[(index + round) % DASHES.length]);
    context.lineWidth = 1.6;
    context.lineJoin = "round";
  }

  drawHead() {
    const title = this.model.get("title");
    setText(this.title, title);
    setText(this.unit, this.model.get("unit"));
    const latest = this.series.find(({ times }) => times.length)?.times.at(-1);
    setText(this.zone, latest === undefined ? "" : zone(latest));
    // what the title says already needs no key
    const isAlone = this.series.length === 1 && this.series[0].name === title;
    this.drawKeys(isAlone ? [] : this.series);
    const last = this.series.map(
      ({ name, values }) => `${name} ${valueLabel(values.at(-1) ?? Number.NaN)}`,
    );
    this.plot.setAttribute("aria-label", `${title || "Chart"}: ${last.join(", ") || "no data"}`);
  }

  /** @param {import("./scale.js").Series[]} named */
  drawKeys(named) {
    while (this.keys.length > named.length) this.keys.pop()?.node.remove();
    named.forEach(({ name }, index) => {
      if (index === this.keys.length) this.keys.push(this.addKey());
      const { swatch, label } = this.keys[index];
      setText(label, name);
      const { context } = this.canvas(swatch, 12);
      this.pen(context, index);
      strokeLine(context, 1, 6, 27, 6);
      drawMarker(context, 14, 6, index);
    });
  }

  addKey() {
    const node = element("span", "varco-chart-key");
    const [swatch, label] = [element("canvas"), element("span")];
    node.append(swatch, label);
    this.zone.before(node);
    return { node, swatch, label };
  }

  /**
   * @param {Context} context
   * @param {import("./scale.js").Scale} scale
   */
  drawValues(context, { left, right, ticks, step, y }) {
    thinPen(context, this.line);
    context.textAlign = "right";
    for (const value of ticks) {
      const place = Math.round(y(value)) + 0.5;
      strokeLine(context, left, place, right, place);
      context.fillText(valueLabel(value, step), left - 5, place);
    }
  }

  /**
   * @param {Context} context
   * @param {import("./scale.js").Scale} scale
   * @param {number} width
   * @param {number} height
   */
  drawTimes(context, { left, right, bottom, early, late, x }, width, height) {
    const widthOf = (/** @type {number} */ step) =>
      context.measureText(timeLabel(late, step)).width + BESIDE;
    const { ticks, step } = timeTicks(early, late, right - left, widthOf);
    context.textAlign = "center";
    let taken = 0; // by the labels before
    for (const tick of ticks) {
      const place = Math.round(x(tick)) + 0.5;
      const text = timeLabel(tick, step);
      const half = context.measureText(text).width / 2;
      strokeLine(context, place, bottom, place, bottom + 3);
      const centre = Math.max(half, Math.min(place, width - half)); // those at the ends move inwards
      if (centre - half < taken) continue;
      context.fillText(text, centre, height - 7);
      taken = centre + half + BESIDE / 2;
    }
  }

  /**
   * @param {Context} context
   * @param {import("./scale.js").Scale} scale
   * @param {number} index
   */
  drawSeries(context, { x, y, left, right, bottom }, index) {
    const { times, values } = this.series[index];
    this.pen(context, index);
    const area = new Path2D();
    let start = Number.NaN; // where the stretch without a gap begins
    context.beginPath();
    for (let place = 0; place <= times.length; place++) {
      const value = values[place];
      if (place === times.length || !Number.isFinite(value)) {
        if (!Number.isNaN(start)) {
          area.lineTo(x(times[place - 1]), bottom);
          area.lineTo(start, bottom);
        }
        start = Number.NaN;
        continue;
      }
      const [px, py] = [x(times[place]), y(value)];
      if (Number.isNaN(start)) {
        start = px;
        context.moveTo(px, py);
        area.moveTo(px, py);
        // a single point is seen too
        if (!Number.isFinite(values[place + 1])) context.lineTo(px + 0.5, py);
      } else {
        context.lineTo(px, py);
        area.lineTo(px, py);
      }
    }
    context.stroke();
    if (this.series.length === 1) {
      context.globalAlpha = 0.15;
      context.fill(area);
      context.globalAlpha = 1;
    }
    if (times.length > (right - left) / 24) return;
    times.forEach((time, place) => {
      if (Number.isFinite(values[place])) drawMarker(context, x(time), y(values[place]), index);
    });
  }

  /**
   * @param {Context} context
   * @param {import("./scale.js").Scale} scale
   * @param {number} time
   * @param {number} height
   */
  drawHover(context, { x, y, left, right }, time, height) {
    const place = clamp(x(time), left, right);
    thinPen(context, this.dim);
    strokeLine(context, place, TOP, place, height - BOTTOM);
    this.series.forEach(({ times, values }, index) => {
      const nearest = nearestIndex(times, time);
      if (!Number.isFinite(values[nearest])) return;
      this.pen(context, index);
      drawMarker(context, x(times[nearest]), y(values[nearest]), index);
    });
  }

  /** @param {number} width */
  drawTip(width) {
    const shown = this.series.filter(({ times }) => times.length);
    const { scale, time } = this;
    this.tip.hidden = time === null || !scale || !shown.length;
    if (time === null || !scale || !shown.length) return;
    const [{ times }] = shown;
    const lines = [moment(times[nearestIndex(times, time)])];
    const unit = this.model.get("unit");
    for (const { name, times: own, values } of shown) {
      const value = valueLabel(values[nearestIndex(own, time)], scale.step / 10);
      lines.push(`${name}: ${value}${unit && ` ${unit}`}`);
    }
    setText(this.tip, lines.join("\n"));
    const y = this.plot.offsetTop / this.fontScale + TOP;
    this.showTipAt({ x: scale.x(time), y, width, distance: 12 });
  }
}

/**
 * A point of a series, in a shape of its own.
 *
 * @param {Context} context
 * @param {number} x
 * @param {number} y
 * @param {number} index of the series
 */
function drawMarker(context, x, y, index) {
  context.setLineDash([]);
  context.beginPath();
  if (index % 4 === 0) context.arc(x, y, 3, 0, 7);
  else if (index % 4 === 1) context.rect(x - 3, y - 3, 6, 6);
  else {
    const side = index % 4 === 2 ? -1 : 1;
    context.moveTo(x, y + 3.5 * side);
    context.lineTo(x + 3.5, y - 3 * side);
    context.lineTo(x - 3.5, y - 3 * side);
    context.closePath();
  }
  context.fill();
}

export default widgetOf(Chart);

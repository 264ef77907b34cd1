// src/common/canvas.js
function strokeLine(context, fromX, fromY, toX, toY) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}
function thinPen(context, color) {
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.setLineDash([]);
}

// src/common/palette.json
var palette_default = {
  blue: "#0072B2",
  sky: "#56B4E9",
  green: "#009E73",
  yellow: "#F0E442",
  orange: "#E69F00",
  red: "#D55E00",
  purple: "#CC79A7"
};

// src/common/colors.js
var { blue, sky, green, yellow, orange, red, purple } = palette_default;
function markColors(isDark, ink) {
  return { blue: isDark ? sky : blue, green, orange, red, purple, ink };
}
function lineColors(isDark) {
  return isDark ? [sky, orange, green, yellow, purple, red] : [blue, red, green, purple, orange, sky];
}
function isLight(color) {
  const [r, g, b] = (color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b > 128;
}

// src/common/dom.js
var OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };
function element(tag, className = "", attributes = {}, text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function showText(node, text) {
  setText(node, text);
  node.hidden = !text;
}
function placeTip(tip, { x, y, width, distance }) {
  const isLeft = x < width / 2;
  tip.style.left = isLeft ? `${x + distance}px` : "auto";
  tip.style.right = isLeft ? "auto" : `${width - x + distance}px`;
  tip.style.top = `${y}px`;
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

// src/common/drawing.js
var FONT = 13;
var Drawing = class {
  text = "";
  dim = "";
  line = "";
  back = "";
  accent = "";
  font = "";
  fontScale = 1;
  // by how much JupyterLab's font is larger than the 13 pixels that is drawn for
  isDark = false;
  colors = markColors(false, "");
  /**
   * @param {import("./model.js").Model<State>} model
   * @param {HTMLElement} el
   * @param {string} className
   * @param {HTMLElement} sized what has the width to draw in
   */
  constructor(model, el, className, sized) {
    this.model = model;
    this.el = el;
    this.sized = sized;
    el.classList.add("varco", className);
    this.probe = element("span", "varco-probe");
    this.error = element("div", "varco-alert", { role: "alert" });
    this.tip = element("div", "varco-tip");
    this.tip.hidden = true;
    el.append(this.probe);
    this.redraw = new Redraw(sized, () => {
      this.readTheme();
      showText(this.error, model.get("error"));
      this.draw();
    });
    this.redraw.watch(this.probe);
    const schedule = () => this.schedule();
    const themes = new MutationObserver(schedule);
    themes.observe(document.body, {
      attributes: true,
      attributeFilter: ["class", "data-jp-theme-name"]
    });
    document.head.addEventListener("load", schedule, true);
    this.endings = [
      () => this.redraw.dispose(),
      () => themes.disconnect(),
      () => document.head.removeEventListener("load", schedule, true)
    ];
  }
  /** Draws. */
  draw() {
  }
  /** @param {Record<string, import("./model.js").Handler>} handlers */
  listen(handlers) {
    this.endings.push(listen(this.model, handlers));
  }
  dispose() {
    for (const end of this.endings) end();
  }
  schedule() {
    this.redraw.schedule();
  }
  readTheme() {
    const style = getComputedStyle(this.el);
    this.text = style.color;
    this.dim = this.colorOf("--varco-dim");
    this.line = this.colorOf("--varco-line");
    this.back = this.colorOf("--varco-back");
    this.accent = this.colorOf("--varco-accent");
    this.font = `11px ${style.fontFamily}`;
    this.fontScale = Number.parseFloat(style.fontSize) / FONT || 1;
    this.isDark = isLight(this.text);
    this.colors = markColors(this.isDark, this.text);
  }
  /**
   * A colour of the theme as a canvas knows it, which has no variables, nor system colours in all
   * browsers.
   *
   * @param {string} name
   */
  colorOf(name) {
    this.probe.style.color = `var(${name})`;
    return getComputedStyle(this.probe).color;
  }
  /** @param {HTMLCanvasElement} node */
  contextOf(node) {
    const context = (
      /** @type {CanvasRenderingContext2D} */
      node.getContext("2d")
    );
    context.font = this.font;
    return context;
  }
  /**
   * How wide the picture in an element is, in the pixels that are drawn for.
   *
   * @param {HTMLElement} node
   */
  widthOf(node) {
    return node.clientWidth / this.fontScale;
  }
  /**
   * Where an event is in the picture.
   *
   * @param {MouseEvent} event
   */
  placeOf({ offsetX, offsetY }) {
    return { x: offsetX / this.fontScale, y: offsetY / this.fontScale };
  }
  /**
   * Puts the tip beside a place of the picture, in pixels that are drawn for.
   *
   * @param {{x: number, y: number, width: number, distance: number}} place
   */
  showTipAt({ x, y, width, distance }) {
    const { fontScale } = this;
    placeTip(this.tip, { x: x * fontScale, y: y * fontScale, width: width * fontScale, distance });
  }
  /**
   * Makes a canvas as wide as its place and clears it. What is drawn grows with the font.
   *
   * @param {HTMLCanvasElement} node
   * @param {number} height in pixels, at the usual size of the font
   */
  canvas(node, height) {
    node.style.height = `${height * this.fontScale}px`;
    const ratio = (window.devicePixelRatio || 1) * this.fontScale;
    const width = this.widthOf(node);
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (node.width !== wide) node.width = wide;
    if (node.height !== high) node.height = high;
    const context = this.contextOf(node);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  }
};

// src/common/numbers.js
var clamp = (value, low, high) => Math.max(low, Math.min(value, high));
function numbersOf(Type, bytes = new ArrayBuffer(0)) {
  if (bytes instanceof ArrayBuffer) return new Type(bytes);
  return new Type(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}
function countWhile(values, condition) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = low + high >> 1;
    if (condition(values[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}
function nearestIndex(values, wanted) {
  const before = Math.max(0, countWhile(values, (value) => value <= wanted) - 1);
  const after = Math.min(values.length - 1, before + 1);
  return wanted - values[before] <= values[after] - wanted ? before : after;
}
function ticksOf(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((unit) => unit * power >= rough) ?? 10) * power;
  const ticks = [];
  for (let index = Math.ceil(low / step); index * step <= high + step / 1e6; index++) {
    ticks.push(index * step);
  }
  return ticks;
}

// src/common/times.js
var DAY = 86400;
function utc(seconds, digits = 3) {
  const text = new Date(seconds * 1e3).toISOString();
  return `${text.slice(0, digits ? 20 + digits : 19).replace("T", " ")} UTC`;
}
var offsetOf = (seconds) => -new Date(seconds * 1e3).getTimezoneOffset() * 60;
function zone(seconds) {
  const minutes = offsetOf(seconds) / 60;
  if (minutes === 0) return "UTC";
  const hours = Math.floor(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  const sign = minutes < 0 ? "−" : "+";
  return `UTC${sign}${hours}${rest ? `:${padded(rest)}` : ""}`;
}
var padded = (value, width = 2) => String(value).padStart(width, "0");
function timeLabel(seconds, step) {
  const date = new Date(seconds * 1e3);
  if (step >= DAY) {
    return `${date.getFullYear()}-${padded(date.getMonth() + 1)}-${padded(date.getDate())}`;
  }
  const minutes = `${padded(date.getHours())}:${padded(date.getMinutes())}`;
  if (step >= 60) return minutes;
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
  const part = padded(date.getMilliseconds(), 3).slice(0, digits);
  return `${minutes}:${padded(date.getSeconds())}${part && `.${part}`}`;
}
var STEPS = [
  1e-3,
  2e-3,
  5e-3,
  0.01,
  0.02,
  0.05,
  0.1,
  0.2,
  0.5,
  1,
  2,
  5,
  10,
  15,
  30,
  60,
  120,
  300,
  600,
  900,
  1800,
  3600,
  7200,
  10800,
  21600,
  43200
];
function timeTicks(low, high, room, widthOf) {
  const fits = (step2) => (high - low) / step2 * widthOf(step2) <= room;
  let step = STEPS.find(fits) ?? DAY;
  while (!fits(step)) step += DAY;
  const offset = offsetOf(high);
  const ticks = [];
  for (let index = Math.ceil((low + offset) / step); index * step - offset <= high; index++) {
    ticks.push(index * step - offset);
  }
  if (ticks.length > 1) return { ticks, step };
  return { ticks: [low, high], step: step < DAY ? Math.min(step, 1) : step };
}
function moment(seconds) {
  if (zone(seconds) === "UTC") return utc(seconds, 0);
  return `${timeLabel(seconds, DAY)} ${timeLabel(seconds, 1)} ${zone(seconds)}
${utc(seconds, 0)}`;
}

// src/chart/scale.js
var TOP = 6;
var BOTTOM = 18;
function scaleOf(series, width, height, widthOf, fromZero = true) {
  let [early, late, low, high] = [Infinity, -Infinity, fromZero ? 0 : Infinity, -Infinity];
  for (const { times, values } of series) {
    if (!times.length) continue;
    early = Math.min(early, times[0]);
    late = Math.max(late, times[times.length - 1]);
    for (const value of values) {
      if (value < low && value > -Infinity) low = value;
      if (value > high && value < Infinity) high = value;
    }
  }
  if (![early + late, low, high].every(Number.isFinite)) return null;
  if (late === early) [early, late] = [early - 0.5, late + 0.5];
  if (!fromZero) {
    const beside = (high - low) / 20 || Math.abs(high) / 1e3 || 0.5;
    [low, high] = [low - beside, high + beside];
  }
  if (high <= low) high = low + 1;
  const ticks = ticksOf(low, high, Math.floor((height - TOP - BOTTOM) / 24));
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : high - low;
  if (fromZero) high = Math.max(high, ...ticks);
  const left = Math.ceil(Math.max(20, ...ticks.map((value) => widthOf(value, step)))) + 8;
  const right = width - 8;
  const bottom = height - BOTTOM;
  return {
    left,
    right,
    bottom,
    early,
    late,
    ticks,
    step,
    x: (time) => left + (time - early) / (late - early) * (right - left),
    y: (value) => bottom - (value - low) / (high - low) * (bottom - TOP),
    time: (x) => early + (x - left) / (right - left) * (late - early)
  };
}
function valueLabel(value, step = Infinity) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-4) return value.toPrecision(3);
  return value.toLocaleString("en-US", {
    maximumFractionDigits: Math.max(
      size >= 100 ? 0 : 2,
      Math.min(6, Math.ceil(-Math.log10(step) - 1e-9))
    ),
    notation: size >= 1e6 && step >= size / 100 ? "compact" : "standard"
  });
}

// src/chart/chart.js
var DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
var BESIDE = 12;
var Chart = class extends Drawing {
  /** @type {import("./scale.js").Series[]} */
  series = [];
  /** @type {import("./scale.js").Scale | null} */
  scale = null;
  /** @type {number | null} */
  time = null;
  // that the pointer or the keys are at
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
      ...onChange(["title", "unit", "height", "from_zero", "error"], () => this.schedule())
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
      values: numbersOf(Float64Array, values)
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
    const widthOf = (value, step) => context.measureText(valueLabel(value, step)).width;
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
    setText(this.zone, latest === void 0 ? "" : zone(latest));
    const isAlone = this.series.length === 1 && this.series[0].name === title;
    this.drawKeys(isAlone ? [] : this.series);
    const last = this.series.map(
      ({ name, values }) => `${name} ${valueLabel(values.at(-1) ?? Number.NaN)}`
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
    const widthOf = (step2) => context.measureText(timeLabel(late, step2)).width + BESIDE;
    const { ticks, step } = timeTicks(early, late, right - left, widthOf);
    context.textAlign = "center";
    let taken = 0;
    for (const tick of ticks) {
      const place = Math.round(x(tick)) + 0.5;
      const text = timeLabel(tick, step);
      const half = context.measureText(text).width / 2;
      strokeLine(context, place, bottom, place, bottom + 3);
      const centre = Math.max(half, Math.min(place, width - half));
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
    let start = Number.NaN;
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
    const shown = this.series.filter(({ times: times2 }) => times2.length);
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
};
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
var chart_default = widgetOf(Chart);
export {
  chart_default as default
};

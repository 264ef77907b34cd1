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
function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = text.length;
  while (kept && context.measureText(`${text.slice(0, kept)}…`).width > width) kept--;
  return `${text.slice(0, kept)}…`;
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
function placeTip(tip, { x, y, width, distance }) {
  const isLeft = x < width / 2;
  tip.style.left = isLeft ? `${x + distance}px` : "auto";
  tip.style.right = isLeft ? "auto" : `${width - x + distance}px`;
  tip.style.top = `${y}px`;
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
function isLight(color) {
  const [r, g, b] = (color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b > 128;
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

// src/common/looks.js
var RING = "M.9 0A.9 .9 0 1 1-.9 0A.9 .9 0 1 1 .9 0Z";
var BOX = "M-1-1H1V1H-1Z";
var SLASH = "M-1.4 1.4L1.4-1.4";
var TICK = "M-1 0L-.2 .8L1-.9";
var SMALL_CROSS = "M-.4-.4L.4 .4M-.4 .4L.4-.4";
var DISC = "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z";
var LARGE_DISC = "M1.3 0A1.3 1.3 0 1 1-1.3 0A1.3 1.3 0 1 1 1.3 0Z";
var DISCS = "M0-.66A1 1 0 1 0 0 .66A1 1 0 0 1 0-.66ZM1.75 0A1 1 0 1 1-.25 0A1 1 0 1 1 1.75 0Z";
var TRIANGLES = "M-1.3-1L.1 0L-1.3 1ZM.1-1L1.4 0L.1 1Z";
var DIAMOND = "M0-1.2L1.2 0L0 1.2L-1.2 0Z";
var OCTAGON = "M-.45-1H.45L1-.45V.45L.45 1H-.45L-1 .45V-.45Z";
var BAR = ["M-.5 0H.5", "back", 2];
var BOLT = "M.3-1.5L-1 .25H-.2L-.4 1.5L1-.4H.1Z";
var LOOKS = {
  published: { words: "published", color: "blue", lines: RING },
  stored: { words: "stored", color: "blue", area: "M-.9-.9H.9V.9H-.9Z" },
  unacknowledged: { words: "no PubAck", color: "red", lines: `${BOX}${SMALL_CROSS}` },
  deduplicated: { words: "dropped as a duplicate", color: "ink", lines: `${BOX}${SLASH}` },
  skipped: { words: "skipped by the deduplicator", color: "ink", lines: `${RING}${SLASH}` },
  delivered: { words: "delivered", color: "green", lines: "M-.8-1L1 0L-.8 1Z" },
  redelivered: { words: "delivered again", color: "orange", area: TRIANGLES, edge: "ink" },
  handled: { words: "handled", color: "green", area: DISC },
  handled_again: { words: "handled again", color: "red", area: DISCS, edge: "ink" },
  failed: { words: "failed", color: "red", sign: ["M-1-1L1 1M-1 1L1-1", "red", 2.4] },
  acked: { words: "acknowledged", color: "green", lines: TICK },
  ack_lost: { words: "ack lost", color: "red", lines: TICK, sign: ["M-1.2-1L1.2 1", "red", 2] },
  naked: { words: "handed back (nak)", color: "orange", area: "M.8-1L-1 0L.8 1Z", edge: "ink" },
  terminated: { words: "given up (term)", color: "red", area: OCTAGON, sign: BAR },
  expired: { words: "ack_wait over", color: "orange", area: "M-1-1H1L-1 1H1Z", edge: "ink" },
  dead_lettered: {
    words: "dead letter",
    color: "purple",
    area: DIAMOND,
    edge: "ink",
    sign: [SMALL_CROSS, "ink", 1.4]
  },
  replayed: { words: "replayed", color: "purple", lines: `${DIAMOND}M-.5 0H.5M0-.5V.5` },
  lost: { words: "lost", color: "red", area: LARGE_DISC, sign: [SMALL_CROSS, "back", 2] },
  fault: { words: "fault", color: "ink", area: BOLT, edge: "back" }
};
var CALM = ["published", "stored", "delivered", "handled", "acked"];
var lookOf = (name) => LOOKS[name] ?? { words: name, color: "ink", lines: RING };
var isLoud = (name) => !CALM.includes(name);
var paths = /* @__PURE__ */ new Map();
function pathOf(shape) {
  const path = paths.get(shape) ?? new Path2D(shape);
  paths.set(shape, path);
  return path;
}
function drawMark(context, name, x, y, radius, { colors, back }) {
  const { color, lines: lines2, area, edge, sign } = lookOf(name);
  const paints = { ...colors, back };
  const stroke = (shape, paint, width) => {
    context.strokeStyle = paints[paint];
    context.lineWidth = width / radius;
    context.stroke(pathOf(shape));
  };
  context.save();
  context.translate(x, y);
  context.scale(radius, radius);
  context.setLineDash([]);
  context.lineJoin = "round";
  context.fillStyle = colors[color];
  if (area) context.fill(pathOf(area));
  if (area && edge) stroke(area, edge, 0.8);
  if (lines2) stroke(lines2, color, 1.6);
  if (sign) stroke(...sign);
  context.restore();
}

// src/common/numbers.js
var clamp = (value, low, high) => Math.max(low, Math.min(value, high));
var grouped = (value) => value.toLocaleString("en-US");
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
function duration(seconds) {
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 9995e-7) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (size < 1) return `${Number((seconds * 1e3).toPrecision(3))} ms`;
  if (size < 120) return `${Number(seconds.toFixed(3))} s`;
  if (size < 7200) return `${Number((seconds / 60).toFixed(1))} min`;
  return `${Number((seconds / 3600).toFixed(1))} h`;
}
function utc(seconds, digits = 3) {
  const text = new Date(seconds * 1e3).toISOString();
  return `${text.slice(0, digits ? 20 + digits : 19).replace("T", " ")} UTC`;
}

// src/lanes/scale.js
var TOP = 4;
var BOTTOM = 20;
var RIGHT = 14;
var REACH = 14;
var FAULT = 17;
var ROWS = 5;
var Scale = class {
  /** @param {Layout} layout */
  constructor({ marks, lanes, laneHeight, byTime, isSpread, range, width, labelWidth }) {
    this.marks = marks;
    this.laneHeight = laneHeight;
    this.byTime = byTime;
    this.low = range[0];
    this.high = range[1];
    this.width = width;
    this.left = labelWidth + 24;
    this.right = width - RIGHT;
    this.top = TOP + FAULT * Math.min(2, marks.faults.length);
    this.bottom = this.top + Math.max(1, lanes.length) * laneHeight;
    this.height = this.bottom + BOTTOM;
    this.rows = new Map(lanes.map(([number], row) => [number, row]));
    this.count = Math.min(marks.events.length, ROWS);
    this.spread = this.count > 1 && isSpread ? Math.max(0, laneHeight - 20) : 0;
  }
  /** @param {number} place */
  x(place) {
    return this.left + (place - this.low) / (this.high - this.low) * (this.right - this.left);
  }
  /** @param {number} x */
  place(x) {
    return this.low + (x - this.left) / (this.right - this.left) * (this.high - this.low);
  }
  /** @param {number} lane */
  rowOf(lane) {
    return this.rows.get(lane) ?? 0;
  }
  /**
   * Where a mark is.
   *
   * @param {number} mark
   */
  placeOf(mark) {
    return this.byTime ? this.marks.time[mark] : mark;
  }
  /** @param {number} mark */
  xOf(mark) {
    return this.x(this.placeOf(mark));
  }
  /** @param {number} mark */
  yOf(mark) {
    const { event, lane } = this.marks;
    const middle = this.top + (this.rowOf(lane[mark]) + 0.5) * this.laneHeight;
    if (!event[mark] || this.count < 2) return middle;
    return middle + ((event[mark] - 1) % this.count / (this.count - 1) - 0.5) * this.spread;
  }
  /** @param {number} x */
  isInSight(x) {
    return x >= this.left - 12 && x <= this.right + RIGHT;
  }
  /** How many marks are in sight. */
  countInSight() {
    const { low, high } = this;
    if (!this.byTime) return high - low;
    return this.marks.time.reduce((sum, time) => sum + Number(time >= low && time <= high), 0);
  }
  /**
   * The mark that the pointer means, of the first `shown`; null if none is near.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} shown
   * @param {number} selected event
   */
  nearest(x, y, shown, selected) {
    const { isLoud: isLoud2, event } = this.marks;
    let [nearest, least] = [-1, REACH * REACH];
    for (let mark = 0; mark < shown; mark++) {
      const [dx, dy] = [this.xOf(mark) - x, this.yOf(mark) - y];
      let distance = dx * dx + dy * dy;
      if (distance > REACH * REACH) continue;
      if (isLoud2[mark]) distance *= 0.6;
      if (selected && event[mark] === selected) distance *= 0.5;
      if (distance < least) [nearest, least] = [mark, distance];
    }
    return nearest < 0 ? null : nearest;
  }
};

// src/lanes/words.js
var MAX_STEPS = 14;
function faultWords({ faults: all }, faults, mark) {
  return faults[faults.length - all.length + all.indexOf(mark)] ?? "";
}
function tipWords(marks, lanes, faults, mark, known) {
  const { time, event, delivery, looks } = marks;
  const lane = lanes.find(([number]) => number === marks.lane[mark]);
  const lines2 = [
    `${lookOf(looks[mark]).words} · ${lane?.[1] ?? ""}`,
    event[mark] ? `event ${event[mark]}` : faultWords(marks, faults, mark),
    `${duration(time[mark] - time[0])} after the first · ${utc(time[mark])}`
  ];
  if (delivery[mark]) lines2.push(`delivery ${delivery[mark]}`);
  if (known) lines2.push(known);
  return lines2.join("\n");
}
function wayWords({ byEvent, lane, looks, time }, lanes, event, shown) {
  const indexes = byEvent.get(event);
  if (!indexes) return event ? `event ${event}` : "";
  const names = new Map(lanes);
  const [start] = indexes;
  const steps = indexes.filter((mark) => mark < shown).map((mark) => {
    const after = mark === start ? "" : ` +${duration(time[mark] - time[start])}`;
    return `${lookOf(looks[mark]).words} (${names.get(lane[mark])}${after})`;
  });
  if (steps.length > MAX_STEPS) {
    steps.splice(MAX_STEPS - 1, steps.length - MAX_STEPS, `${steps.length - MAX_STEPS} more`);
  }
  return `event ${event}: ${steps.join(" → ")}`;
}
function rangeWords({ length, time }, { byTime, range: [low, high] }) {
  if (byTime) return `from ${duration(low - time[0])} to ${duration(high - time[0])}`;
  return `steps ${Math.max(1, Math.ceil(low) + 1)} to ${Math.min(length, Math.floor(high) + 1)}`;
}
var plural = (count, noun) => count === 1 ? noun : `${noun}s`;
function pictureWords({ title, lanes, marks, shown, sight, bands, faults, note }) {
  const counts = /* @__PURE__ */ new Map();
  for (const look of marks.looks.slice(0, shown)) counts.set(look, (counts.get(look) ?? 0) + 1);
  const kinds = [...counts].map(([look, count]) => `${lookOf(look).words} ${grouped(count)}`);
  const parts = [
    title || "Timeline",
    `lanes ${lanes.map(([, name]) => name).join(", ")}`,
    kinds.length ? `${grouped(shown)} ${plural(shown, "mark")}: ${kinds.join(", ")}` : "no marks",
    marks.length ? rangeWords(marks, sight) : "",
    bands.length ? `${bands.length} ${plural(bands.length, "window")}` : "",
    ...faults,
    note
  ];
  return parts.filter(Boolean).join("; ");
}

// src/lanes/backdrop.js
function drawLanes(context, theme, scale, labels) {
  const { left, top, bottom, laneHeight } = scale;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillStyle = theme.text;
  labels.forEach((label, row) => {
    const y = top + row * laneHeight;
    if (row % 2 === 0) {
      context.globalAlpha = 0.045;
      context.fillRect(0, y, scale.width, laneHeight);
      context.globalAlpha = 1;
    }
    context.fillText(label, left - 16, y + laneHeight / 2);
  });
  thinPen(context, theme.line);
  strokeLine(context, left - 8.5, top, left - 8.5, bottom);
}
function drawAxis(context, theme, scale) {
  const { left, right, top, bottom } = scale;
  thinPen(context, theme.line);
  context.fillStyle = theme.dim;
  context.textAlign = "center";
  context.textBaseline = "middle";
  let free = left - 10;
  for (const [place, label] of axisTicks(scale)) {
    const x = Math.round(scale.x(place)) + 0.5;
    if (x < left - 9 || x > right + RIGHT) continue;
    context.globalAlpha = 0.6;
    strokeLine(context, x, top, x, bottom + 3);
    context.globalAlpha = 1;
    const half = context.measureText(label).width / 2;
    if (x - half < free || x + half > right + RIGHT) continue;
    context.fillText(label, x, scale.height - 8);
    free = x + half + 10;
  }
}
function axisTicks({ marks, byTime, low, high, left, right }) {
  if (!marks.length) return [];
  const [start] = marks.time;
  const count = Math.max(2, Math.floor((right - left) / 90));
  if (byTime) {
    return ticksOf(low - start, high - start, count).filter((time) => time >= -1e-12).map((time) => [time + start, duration(time)]);
  }
  return ticksOf(Math.max(0, low), Math.min(high, marks.length - 1), count).filter(Number.isInteger).map((index) => [index, duration(marks.time[index] - start)]);
}
function drawBands(context, theme, scale, bands) {
  if (!scale.byTime) return;
  const height = scale.laneHeight - 6;
  for (const [lane, start, end] of bands) {
    const y = scale.top + scale.rowOf(lane) * scale.laneHeight + 3;
    const [from, to] = [scale.x(start), scale.x(end)];
    context.fillStyle = context.strokeStyle = theme.colors.blue;
    context.globalAlpha = 0.16;
    context.fillRect(from, y, to - from, height);
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.setLineDash([4, 3]);
    strokeLine(context, to, y, to, y + height);
    const text = `ends after ${duration(end - start)}`;
    const isInside = context.measureText(text).width + 24 < to - from;
    context.fillStyle = theme.dim;
    context.textBaseline = "middle";
    context.textAlign = isInside ? "right" : "left";
    context.fillText(text, isInside ? to - 5 : to + 5, y + height / 2);
  }
}
function drawFaults(context, theme, scale, faults, shown) {
  const { marks, left, right, top, bottom } = scale;
  const { ink } = theme.colors;
  const free = [left - 8, left - 8];
  const labels = [];
  context.setLineDash([]);
  context.strokeStyle = ink;
  context.lineWidth = 2;
  for (const mark of marks.faults) {
    const x = Math.round(scale.xOf(mark));
    if (mark >= shown || x < left - 8 || x > right + RIGHT) continue;
    const words = faultWords(marks, faults, mark);
    const width = context.measureText(words).width + 24;
    const from = Math.max(left - 8, Math.min(x, right + RIGHT - width));
    const row = free.findIndex((end) => end <= from);
    const y = row < 0 ? top : top - FAULT * (row + 1);
    if (row >= 0 && y >= 0) {
      free[row] = from + width + 4;
      labels.push([from, y, width, words]);
    }
    strokeLine(context, x, Math.max(0, y), x, bottom);
  }
  context.textBaseline = "middle";
  context.textAlign = "left";
  const inverse = { colors: { ...theme.colors, ink: theme.back }, back: ink };
  for (const [x, y, width, words] of labels) {
    const middle = y + (FAULT - 3) / 2;
    context.fillStyle = ink;
    context.fillRect(x, y, width, FAULT - 3);
    drawMark(context, "fault", x + 9, middle, 4, inverse);
    context.fillStyle = theme.back;
    context.fillText(words, x + 18, middle);
  }
}

// src/lanes/legend.js
var Legend = class {
  node = element("div", "varco-lanes-legend", { role: "list", "aria-label": "Marks" });
  drawn = "";
  // from what
  /**
   * @param {import("../common/drawing.js").Drawing<any>} theme
   * @param {[look: string, count: number][]} counts
   */
  draw(theme, counts) {
    const drawn = JSON.stringify([counts, theme.isDark, theme.text, theme.fontScale]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const swatches = [];
    const items = counts.map(([look, count]) => {
      const item = element("span", "varco-lanes-key", { role: "listitem" });
      const swatch = element("canvas", "", { "aria-hidden": "true" });
      const words = element("span", "", {}, lookOf(look).words);
      item.append(swatch, words, element("b", "", {}, grouped(count)));
      swatches.push([swatch, look]);
      return item;
    });
    this.node.replaceChildren(...items);
    for (const [swatch, look] of swatches) {
      drawMark(theme.canvas(swatch, 16).context, look, 9, 8, 4.5, theme);
    }
  }
};

// src/lanes/marks.js
var WAYS = {
  unacknowledged: "lost",
  deduplicated: "dropped",
  redelivered: "again",
  expired: "again",
  dead_lettered: "dead",
  replayed: "dead",
  lost: "lost"
};
var Marks = class {
  /** @type {Map<number, number[]>} */
  byEvent = /* @__PURE__ */ new Map();
  // the marks of each event
  /** @type {number[]} */
  faults = [];
  // they are of no event
  /**
   * @param {string[]} looks by their number
   * @param {Batch[]} batches
   */
  constructor(looks, ...batches) {
    this.time = joined(Float64Array, batches, "time");
    this.n = joined(Uint32Array, batches, "n");
    this.event = joined(Uint32Array, batches, "event");
    this.delivery = joined(Uint16Array, batches, "delivery");
    this.lane = joined(Uint8Array, batches, "lane");
    this.looks = Array.from(joined(Uint8Array, batches, "kind"), (look) => looks[look]);
    this.isLoud = this.looks.map(isLoud);
    this.event.forEach((event, index) => {
      const others = this.byEvent.get(event);
      if (!event) this.faults.push(index);
      else if (others) others.push(index);
      else this.byEvent.set(event, [index]);
    });
    this.events = [...this.byEvent.keys()].sort((a, b) => a - b);
    this.links = [...this.byEvent.values()].flatMap((indexes) => this.#linksOf(indexes));
  }
  get length() {
    return this.n.length;
  }
  /**
   * How many marks come before a row of the record.
   *
   * @param {number} n
   */
  before(n) {
    return countWhile(this.n, (value) => value < n);
  }
  /**
   * From where a message came to each of its marks.
   *
   * @param {number[]} indexes
   */
  #linksOf(indexes) {
    const links = [];
    const published = [];
    const newest = /* @__PURE__ */ new Map();
    let [stored, last, dead] = [null, null, null];
    for (const to of indexes) {
      const [look, lane] = [this.looks[to], this.lane[to]];
      let from = null;
      switch (look) {
        case "published":
          published.push(to);
          break;
        case "stored":
          from = published.shift() ?? null;
          stored = to;
          break;
        case "unacknowledged":
        case "deduplicated":
          from = published.shift() ?? null;
          break;
        case "delivered":
          from = stored ?? published[0] ?? null;
          last = to;
          newest.set(lane, to);
          break;
        case "redelivered":
          from = last ?? stored;
          last = to;
          newest.set(lane, to);
          break;
        case "expired":
          from = last ?? stored;
          last = to;
          break;
        case "dead_lettered":
          from = last ?? stored;
          dead = to;
          break;
        case "replayed":
          from = dead;
          stored = to;
          break;
        case "lost":
          from = last ?? stored ?? published.at(-1) ?? null;
          break;
        default:
          from = newest.get(lane) ?? last ?? stored;
          last = to;
          newest.set(lane, to);
      }
      if (from !== null) links.push([from, to, WAYS[look] ?? "calm"]);
    }
    return links;
  }
};
function joined(Type, batches, name) {
  const parts = batches.map((batch) => numbersOf(Type, batch[name]));
  const whole = new Type(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) {
    whole.set(part, end);
    end += part.length;
  }
  return whole;
}

// src/lanes/pointer.js
var CLICK = 5;
var Pointer = class {
  /** @type {Drag | null} */
  #drag = null;
  /**
   * @param {import("./lanes.js").Lanes} lanes
   * @param {HTMLElement} plot
   */
  constructor(lanes, plot) {
    this.lanes = lanes;
    this.plot = plot;
    plot.addEventListener("pointermove", (event) => this.onMove(event));
    plot.addEventListener("pointerleave", () => lanes.point(null));
    plot.addEventListener("pointerdown", (event) => this.onDown(event));
    plot.addEventListener("pointerup", (event) => this.onUp(event));
    plot.addEventListener("pointercancel", () => {
      this.#drag = null;
    });
    plot.addEventListener("dblclick", () => lanes.fit());
    plot.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
  }
  /** The part that is being marked to be zoomed to. */
  get marked() {
    const drag = this.#drag;
    return drag && !drag.isPan && Math.abs(drag.to - drag.x) >= CLICK ? [drag.x, drag.to] : null;
  }
  /** @param {WheelEvent} event */
  onWheel(event) {
    const { lanes } = this;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      lanes.zoom(Math.exp(event.deltaY * 3e-3), lanes.scale?.place(lanes.placeOf(event).x));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      lanes.pan((event.deltaX || event.deltaY) / 600);
    }
  }
  /** @param {PointerEvent} event */
  onDown(event) {
    if (event.button !== 0) return;
    this.plot.setPointerCapture(event.pointerId);
    const { x } = this.lanes.placeOf(event);
    this.#drag = { x, to: x, isPan: event.shiftKey, range: this.lanes.sight.range };
  }
  /** @param {PointerEvent} event */
  onMove(event) {
    const { lanes } = this;
    const drag = this.#drag;
    if (!drag) {
      lanes.point(this.nearest(event));
      return;
    }
    drag.to = lanes.placeOf(event).x;
    if (drag.isPan && lanes.scale) {
      const { left, right } = lanes.scale;
      lanes.sight.pan((drag.x - drag.to) / (right - left), drag.range);
    }
    lanes.schedule();
  }
  /** @param {PointerEvent} event */
  onUp(event) {
    const { scale, sight } = this.lanes;
    const drag = this.#drag;
    this.#drag = null;
    if (!drag || !scale) return;
    if (Math.abs(drag.to - drag.x) < CLICK) this.lanes.steps.choose(this.nearest(event));
    else if (!drag.isPan) {
      sight.show(scale.place(Math.min(drag.x, drag.to)), scale.place(Math.max(drag.x, drag.to)));
    }
    this.lanes.schedule();
  }
  /** @param {PointerEvent} event */
  nearest(event) {
    const { lanes } = this;
    const { x, y } = lanes.placeOf(event);
    const selected = lanes.model.get("selected");
    return lanes.scale?.nearest(x, y, lanes.steps.shown, selected) ?? null;
  }
};

// src/lanes/sight.js
var LIVE_SECONDS = 10;
var LIVE_MARKS = 300;
var Sight = class {
  /** @type {Range | null} */
  chosen = null;
  // by the user; null follows
  /** @type {Range} */
  bounds = [0, 1];
  // of everything
  byTime = true;
  isLive = false;
  // while more comes, the newest is in sight
  /** @returns {Range} */
  get range() {
    if (this.chosen) return this.chosen;
    const [low, high] = this.bounds;
    if (!this.isLive) return [low, high];
    return [Math.max(low, high - (this.byTime ? LIVE_SECONDS : LIVE_MARKS)), high];
  }
  /**
   * @param {Float64Array} times of the marks
   * @param {Band[]} bands
   */
  measure(times, bands) {
    if (!times.length) this.bounds = [0, 1];
    else if (this.byTime) this.bounds = timeBounds(times, bands);
    else this.bounds = [-0.5, times.length - 0.5];
  }
  /** Follows again. */
  fit() {
    this.chosen = null;
  }
  /**
   * Shows this part, as far as there is something.
   *
   * @param {number} low
   * @param {number} high
   */
  show(low, high) {
    const [first, last] = this.bounds;
    const size = Math.min(Math.max(high - low, this.byTime ? 1e-5 : 3), last - first);
    const from = Math.min(Math.max(low, first), last - size);
    if (size < last - first) this.chosen = [from, from + size];
    else this.chosen = this.isLive ? [first, last] : null;
  }
  /**
   * @param {number} factor below 1 shows less
   * @param {number} [around] the place that stays where it is; by default the middle
   */
  zoom(factor, around) {
    const [low, high] = this.range;
    const middle = around ?? (low + high) / 2;
    this.show(middle - (middle - low) * factor, middle + (high - middle) * factor);
  }
  /**
   * @param {number} share of what is in sight; below 0 goes back
   * @param {Range} [range] from where to go, instead of what is in sight
   */
  pan(share, [low, high] = this.range) {
    const by = (high - low) * share;
    this.show(low + by, high + by);
  }
};
function timeBounds(times, bands) {
  const low = Math.min(times[0], ...bands.map(([, start]) => start));
  const high = Math.max(times[times.length - 1], ...bands.map(([, , end]) => end));
  const room = (high - low) * 0.015 || 5e-4;
  return [low - room, high + room];
}

// src/lanes/steps.js
var Steps = class {
  marks = new Marks([]);
  /** @param {import("../common/model.js").Model<import("./lanes.js").State>} model */
  constructor(model) {
    this.model = model;
  }
  /** How many marks are shown. */
  get shown() {
    const position = this.model.get("position");
    return position < 0 ? this.marks.length : this.marks.before(position);
  }
  /** The mark that the steps have come to; null at the end. */
  get current() {
    return this.model.get("position") < 0 || !this.shown ? null : this.shown - 1;
  }
  /** @param {1 | -1} by */
  step(by) {
    const isAtEnd = this.model.get("position") < 0;
    return this.goTo(isAtEnd && by > 0 ? this.marks.length - 1 : this.shown - 1 + by);
  }
  /**
   * Shows the marks up to this one; returns the one that it has come to.
   *
   * @param {number} wanted
   */
  goTo(wanted) {
    if (!this.marks.length) return null;
    const mark = clamp(wanted, 0, this.marks.length - 1);
    save(this.model, { position: this.marks.n[mark] + 1 });
    return mark;
  }
  /** Shows all of them. */
  goToEnd() {
    save(this.model, { position: -1 });
  }
  /**
   * Follows the event of a mark, or no event.
   *
   * @param {number | null} mark
   */
  choose(mark) {
    const event = mark === null ? 0 : this.marks.event[mark];
    save(this.model, { selected: event === this.model.get("selected") ? 0 : event });
  }
  /**
   * Follows the next event, or the one before.
   *
   * @param {1 | -1} by
   */
  follow(by) {
    const { events } = this.marks;
    if (!events.length) return;
    const last = events.length - 1;
    const index = events.indexOf(this.model.get("selected"));
    const next = index < 0 ? by > 0 ? 0 : last : clamp(index + by, 0, last);
    save(this.model, { selected: events[next] });
  }
};

// src/lanes/ways.js
var DIM = 0.13;
function lines({ colors, dim }) {
  return {
    calm: { color: dim, width: 1, dash: [], strength: 0.5 },
    again: { color: colors.orange, width: 1.8, dash: [5, 3], strength: 1 },
    dropped: { color: colors.ink, width: 1.4, dash: [2, 2], strength: 0.9 },
    dead: { color: colors.purple, width: 2, dash: [], strength: 1 },
    lost: { color: colors.red, width: 1.8, dash: [2, 3], strength: 1 }
  };
}
function drawLinks(context, theme, scale, shown, selected) {
  const { marks } = scale;
  const styles = lines(theme);
  const calmStrength = scale.countInSight() > 1200 ? 0.15 : styles.calm.strength;
  for (const isMine of [false, true]) {
    for (const [from, to, way] of marks.links) {
      if (to >= shown || (selected !== 0 && marks.event[to] === selected) !== isMine) continue;
      const [x1, x2] = [scale.xOf(from), scale.xOf(to)];
      if (Math.max(x1, x2) < 0 || Math.min(x1, x2) > scale.right + RIGHT) continue;
      const { color, width, dash, strength } = styles[way];
      context.strokeStyle = isMine && way === "calm" ? theme.text : color;
      context.lineWidth = isMine ? width + 0.8 : width;
      context.setLineDash(dash);
      const alone = way === "calm" ? calmStrength : strength;
      context.globalAlpha = isMine ? 1 : selected ? DIM : alone;
      strokeLine(context, x1, scale.yOf(from), x2, scale.yOf(to));
    }
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
}
function drawMarks(context, theme, scale, shown, selected) {
  const { marks } = scale;
  const crowd = scale.countInSight();
  const radius = crowd < 250 ? 4.5 : crowd < 800 ? 3.5 : 2.5;
  for (const isLoud2 of [false, true]) {
    for (let mark = 0; mark < shown; mark++) {
      const x = scale.xOf(mark);
      if (marks.isLoud[mark] !== isLoud2 || !scale.isInSight(x)) continue;
      const event = marks.event[mark];
      const isMine = event === selected;
      const calmRadius = isMine ? Math.max(4.5, radius) : radius;
      const loudRadius = event ? Math.max(5, radius + 1) : 8;
      context.globalAlpha = selected && !isMine && event ? DIM : 1;
      const size = isLoud2 ? loudRadius : calmRadius;
      drawMark(context, marks.looks[mark], x, scale.yOf(mark), size, theme);
    }
  }
  context.globalAlpha = 1;
}

// src/lanes/lanes.js
var ZOOM = 1.6;
var MAX_LABEL = 170;
var Lanes = class extends Drawing {
  sight = new Sight();
  legend = new Legend();
  /** @type {Scale | null} */
  scale = null;
  /** @type {number | null} */
  pointed = null;
  // the mark under the pointer
  /** @type {Map<number, string>} */
  answers = /* @__PURE__ */ new Map();
  // what the kernel knows of marks, by row of the record
  isStale = true;
  // the kernel has sent other marks
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
      ...OWN_KEYS
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
      button("Fit", () => this.fit(), { title: "Show all of it (0)" })
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
      "msg:custom": (message) => this.onMessage(message)
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
    this.sight.zoom(factor, around ?? (place >= low && place <= high ? place : void 0));
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
    const actions = {
      ArrowRight: () => event.shiftKey ? this.pan(0.2) : this.arrive(steps.step(1)),
      ArrowLeft: () => event.shiftKey ? this.pan(-0.2) : this.arrive(steps.step(-1)),
      ArrowDown: () => steps.follow(1),
      ArrowUp: () => steps.follow(-1),
      Home: () => this.arrive(steps.goTo(0)),
      End: () => steps.goToEnd(),
      Enter: () => steps.choose(this.pointed ?? steps.current),
      Escape: () => this.pointed === null ? save(this.model, { selected: 0 }) : this.point(null),
      "+": () => this.zoom(1 / ZOOM),
      "=": () => this.zoom(1 / ZOOM),
      "-": () => this.zoom(ZOOM),
      0: () => this.fit()
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
      labelWidth: labels.width
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
};
var lanes_default = widgetOf(Lanes);
export {
  Lanes,
  lanes_default as default
};

// src/common/dom.js
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
var lookOf = (name) => LOOKS[name] ?? { words: name, color: "ink", lines: RING };
var paths = /* @__PURE__ */ new Map();
function pathOf(shape) {
  const path = paths.get(shape) ?? new Path2D(shape);
  paths.set(shape, path);
  return path;
}
function drawMark(context, name, x, y, radius, { colors, back }) {
  const { color, lines, area, edge, sign } = lookOf(name);
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
  if (lines) stroke(lines, color, 1.6);
  if (sign) stroke(...sign);
  context.restore();
}

// src/common/numbers.js
var grouped = (value) => value.toLocaleString("en-US");

// src/flow/flow.js
var Flow = class extends Drawing {
  /** @type {[HTMLCanvasElement, string][]} */
  swatches = [];
  // with their looks
  /**
   * @param {import("../common/model.js").Model<State>} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    const list = element("div", "varco-flow-stages");
    super(model, el, "varco-flow", list);
    this.list = list;
    el.append(list, this.error);
    this.listen(onChange(["_stages", "error"], () => this.schedule()));
    this.schedule();
  }
  draw() {
    this.swatches = [];
    this.list.replaceChildren(...this.model.get("_stages").map((stage) => this.stage(stage)));
    for (const [node, look] of this.swatches) {
      const { context, width } = this.canvas(node, 16);
      drawMark(context, look, width / 2, 8, 4.5, this);
    }
  }
  /** @param {Stage} stage */
  stage({ title, total, parts }) {
    const node = element("section", "", { "aria-label": title });
    const head = element("div", "varco-flow-head");
    head.append(element("span", "varco-title", {}, title), element("b", "", {}, grouped(total)));
    const bar = element("div", "varco-flow-bar", { "aria-hidden": "true" });
    bar.append(...parts.filter(({ count }) => count).map((part) => this.piece(part)));
    const words = element("div", "varco-flow-words");
    words.append(...parts.map(inWords));
    node.append(head, bar, words);
    return node;
  }
  /** @param {Share} part */
  piece({ words, count, look }) {
    const piece = element("div", "varco-flow-piece", { title: `${count} ${words}` });
    const color = this.colors[lookOf(look).color];
    piece.style.flexGrow = String(count);
    piece.style.background = `color-mix(in srgb, ${color} 28%, var(--varco-back))`;
    piece.style.borderTopColor = color;
    const swatch = element("canvas");
    this.swatches.push([swatch, look]);
    piece.append(swatch, element("span", "", {}, grouped(count)));
    return piece;
  }
};
function inWords({ words, count }, index) {
  const item = element("span", count ? "" : "varco-flow-none");
  item.append(index ? "+ " : "= ", element("b", "", {}, grouped(count)), ` ${words}`);
  return item;
}
var flow_default = widgetOf(Flow);
export {
  flow_default as default
};

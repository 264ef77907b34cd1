// Lines over time on a canvas. Names and titles reach the page through textContent only, or are
// drawn as text.

// Okabe and Ito's colours, told apart by colour-blind people, in the order of their contrast
const ON_LIGHT = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const ON_DARK = ["#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00"];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
  1800, 3600, 7200, 10800, 21600, 43200,
];
const DAY = 86400;
const TOP = 6;
const BOTTOM = 18;
const BESIDE = 12; // pixels between two labels of the time axis

function floats(view) {
  if (view instanceof ArrayBuffer) return new Float64Array(view);
  return new Float64Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function number(value) {
  if (!Number.isFinite(value)) return "–";
  const digits = Math.abs(value) >= 100 ? 0 : 2;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits, notation:
    Math.abs(value) >= 1e6 ? "compact" : "standard" });
}

function valueTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((unit) => unit * power >= rough) * power;
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high + step / 1e6; at++) ticks.push(at * step);
  return ticks;
}

const offsetOf = (seconds) => -new Date(seconds * 1000).getTimezoneOffset() * 60;

// As many ticks as their labels have room for; the two ends where no two round times have.
function timeTicks(low, high, room, widthOf) {
  const fits = (step) => ((high - low) / step) * (widthOf(step) + BESIDE) <= room;
  let step = STEPS.find(fits) ?? DAY;
  while (!fits(step)) step += DAY;
  const offset = offsetOf(high); // ticks fall on round local times
  const ticks = [];
  for (let at = Math.ceil((low + offset) / step); at * step - offset <= high; at++) {
    ticks.push(at * step - offset);
  }
  if (ticks.length > 1) return { ticks, step };
  return { ticks: [low, high], step: step < DAY ? Math.min(step, 1) : step };
}

function timeLabel(seconds, step) {
  const date = new Date(seconds * 1000);
  const pad = (value) => String(value).padStart(2, "0");
  if (step >= DAY) return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const minutes = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  if (step >= 60) return minutes;
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
  const part = String(date.getMilliseconds()).padStart(3, "0").slice(0, digits);
  return `${minutes}:${pad(date.getSeconds())}${part && `.${part}`}`;
}

function zone(seconds) {
  const minutes = offsetOf(seconds) / 60;
  if (minutes === 0) return "UTC";
  const hours = Math.floor(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  const sign = minutes < 0 ? "−" : "+";
  return `UTC${sign}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
}

// The place of the last of the ascending `times` that is not after `time`.
function placeOf(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function nearest(times, time) {
  const before = Math.max(0, placeOf(times, time));
  const after = Math.min(times.length - 1, before + 1);
  return time - times[before] <= times[after] - time ? before : after;
}

class Chart {
  constructor(model, el) {
    this.model = model;
    this.build(el);
    this.listen();
    this.read();
  }

  build(el) {
    el.classList.add("varco-chart");
    this.el = el;
    this.head = element("div", "varco-chart-head");
    this.title = element("span", "varco-chart-title");
    this.unit = element("span", "varco-chart-unit");
    this.keys = [];
    this.zone = element("span", "varco-chart-zone");
    this.head.append(this.title, this.unit, this.zone);
    this.plot = element("canvas", "varco-chart-plot");
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "img");
    this.plot.setAttribute("data-lm-suppress-shortcuts", "true");
    this.tip = element("div", "varco-chart-tip");
    this.tip.hidden = true;
    this.error = element("div", "varco-chart-error");
    this.error.setAttribute("role", "alert");
    el.append(this.head, this.plot, this.tip, this.error);
  }

  listen() {
    const on = {
      "change:_series": () => this.read(),
      "change:title": () => this.schedule(),
      "change:unit": () => this.schedule(),
      "change:height": () => this.schedule(),
      "change:error": () => this.schedule(),
    };
    for (const [event, handler] of Object.entries(on)) this.model.on(event, handler);
    const redraw = () => this.schedule();
    this.resizes = new ResizeObserver(redraw);
    this.resizes.observe(this.plot);
    // JupyterLab and VS Code change the theme on the body
    this.themes = new MutationObserver(redraw);
    const options = { attributes: true, attributeFilter: ["class", "data-jp-theme-name"] };
    this.themes.observe(document.body, options);
    // of JupyterLab, the style sheet of the new theme comes later
    document.head.addEventListener("load", redraw, true);
    this.silence = () => {
      for (const [event, handler] of Object.entries(on)) this.model.off(event, handler);
      document.head.removeEventListener("load", redraw, true);
    };
    this.plot.addEventListener("pointermove", (event) => this.hover(event.offsetX));
    this.plot.addEventListener("pointerleave", () => this.hover(null));
    this.plot.addEventListener("blur", () => this.hover(null));
    this.plot.addEventListener("keydown", (event) => this.onKey(event));
  }

  dispose() {
    this.silence();
    this.resizes.disconnect();
    this.themes.disconnect();
    cancelAnimationFrame(this.frame);
  }

  read() {
    this.series = this.model.get("_series").map(({ name, times, values }) => ({
      name,
      times: floats(times),
      values: floats(values),
    }));
    this.schedule();
  }

  schedule() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  hover(x) {
    this.at = x === null || !this.scale ? null : this.scale.time(x);
    this.schedule();
  }

  onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const times = this.series[0]?.times;
    if (event.key === "Escape") this.hover(null);
    if (!step || !times?.length) return;
    event.preventDefault();
    event.stopPropagation();
    const place = this.at == null ? times.length : nearest(times, this.at);
    this.at = times[Math.max(0, Math.min(times.length - 1, place + step))];
    this.schedule();
  }

  // --- drawing ----------------------------------------------------------------------------------

  draw() {
    this.frame = 0;
    if (!this.plot.clientWidth) {
      // not laid out now; an element observed anew is reported as soon as it has a size
      this.resizes.unobserve(this.plot);
      this.resizes.observe(this.plot);
      return;
    }
    const style = getComputedStyle(this.el);
    const probe = (name) => style.getPropertyValue(name).trim();
    this.text = style.color;
    this.dim = this.colorOf(probe("--varco-dim"), this.text);
    this.line = this.colorOf(probe("--varco-line"), "#8886");
    this.font = `11px ${style.fontFamily}`;
    this.palette = isLight(this.text) ? ON_DARK : ON_LIGHT;
    this.drawHead();
    const { context, width, height } = this.canvas(this.plot, this.model.get("height"));
    context.font = this.font;
    this.measure(context, width, height);
    this.drawAxes(context, width, height);
    if (this.scale) {
      this.series.forEach((series, at) => this.drawSeries(context, series, at));
      this.drawHover(context, height);
    }
    this.drawTip(width);
  }

  // A canvas knows neither variables nor system colours in all browsers.
  colorOf(value, otherwise) {
    if (!value) return otherwise;
    this.tip.style.outlineColor = "";
    this.tip.style.outlineColor = value;
    return getComputedStyle(this.tip).outlineColor || otherwise;
  }

  canvas(node, height) {
    node.style.height = `${height}px`;
    const ratio = window.devicePixelRatio || 1;
    const width = node.clientWidth;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (node.width !== wide) node.width = wide;
    if (node.height !== high) node.height = high;
    const context = node.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  }

  pen(context, at) {
    context.strokeStyle = context.fillStyle = this.palette[at % this.palette.length];
    // past the last colour the same ones come with another dash
    const round = Math.floor(at / this.palette.length);
    context.setLineDash(DASHES[(at + round) % DASHES.length]);
    context.lineWidth = 1.6;
    context.lineJoin = "round";
  }

  drawHead() {
    this.title.textContent = this.model.get("title");
    this.unit.textContent = this.model.get("unit");
    const latest = this.series.find(({ times }) => times.length)?.times.at(-1);
    this.zone.textContent = latest === undefined ? "" : zone(latest);
    this.error.textContent = this.model.get("error");
    this.error.hidden = !this.model.get("error");
    // what the title says already needs no key
    const alone = this.series.length === 1 && this.series[0].name === this.model.get("title");
    const named = alone ? [] : this.series;
    while (this.keys.length > named.length) this.keys.pop().node.remove();
    named.forEach(({ name }, at) => {
      if (at === this.keys.length) {
        const node = element("span", "varco-chart-key");
        const swatch = document.createElement("canvas");
        const label = element("span", "");
        node.append(swatch, label);
        this.zone.before(node);
        this.keys.push({ node, swatch, label });
      }
      const { swatch, label } = this.keys[at];
      if (label.textContent !== name) label.textContent = name;
      const { context } = this.canvas(swatch, 12);
      this.pen(context, at);
      context.beginPath();
      context.moveTo(1, 6);
      context.lineTo(27, 6);
      context.stroke();
      this.marker(context, 14, 6, at);
    });
    const last = this.series.map(({ name, values }) => `${name} ${number(values.at(-1) ?? NaN)}`);
    const what = this.model.get("title") || "Chart";
    this.plot.setAttribute("aria-label", `${what}: ${last.join(", ") || "no data"}`);
  }

  marker(context, x, y, at) {
    context.setLineDash([]);
    context.beginPath();
    if (at % 4 === 0) context.arc(x, y, 3, 0, 7);
    else if (at % 4 === 1) context.rect(x - 3, y - 3, 6, 6);
    else {
      const side = at % 4 === 2 ? -1 : 1;
      context.moveTo(x, y + 3.5 * side);
      context.lineTo(x + 3.5, y - 3 * side);
      context.lineTo(x - 3.5, y - 3 * side);
      context.closePath();
    }
    context.fill();
  }

  measure(context, width, height) {
    let [early, late, low, high] = [Infinity, -Infinity, 0, -Infinity];
    for (const { times, values } of this.series) {
      if (!times.length) continue;
      early = Math.min(early, times[0]);
      late = Math.max(late, times.at(-1));
      for (const value of values) {
        if (value < low) low = value;
        if (value > high && value < Infinity) high = value;
      }
    }
    this.scale = null;
    if (!Number.isFinite(early + late) || !Number.isFinite(high) || !Number.isFinite(low)) return;
    if (late === early) [early, late] = [early - 0.5, late + 0.5];
    if (high <= low) high = low + 1;
    const values = valueTicks(low, high, Math.floor((height - TOP - BOTTOM) / 24));
    high = Math.max(high, values.at(-1));
    const labels = values.map((value) => context.measureText(number(value)).width);
    const left = Math.ceil(Math.max(20, ...labels)) + 8;
    const right = width - 8;
    const bottom = height - BOTTOM;
    this.scale = {
      left,
      right,
      bottom,
      values,
      early,
      late,
      x: (time) => left + ((time - early) / (late - early)) * (right - left),
      y: (value) => bottom - ((value - low) / (high - low)) * (bottom - TOP),
      time: (x) => early + ((x - left) / (right - left)) * (late - early),
    };
  }

  drawAxes(context, width, height) {
    context.fillStyle = this.dim;
    context.strokeStyle = this.line;
    context.lineWidth = 1;
    context.setLineDash([]);
    context.textBaseline = "middle";
    if (!this.scale) {
      context.textAlign = "center";
      context.fillText("no data yet", width / 2, height / 2);
      return;
    }
    const { left, right, bottom, values, x, y, early, late } = this.scale;
    context.textAlign = "right";
    for (const value of values) {
      const at = Math.round(y(value)) + 0.5;
      context.beginPath();
      context.moveTo(left, at);
      context.lineTo(right, at);
      context.stroke();
      context.fillText(number(value), left - 5, at);
    }
    const widthOf = (step) => context.measureText(timeLabel(late, step)).width;
    const { ticks, step } = timeTicks(early, late, right - left, widthOf);
    context.textAlign = "center";
    let taken = 0; // by the labels before
    for (const tick of ticks) {
      const at = Math.round(x(tick)) + 0.5;
      const text = timeLabel(tick, step);
      const half = context.measureText(text).width / 2;
      context.beginPath();
      context.moveTo(at, bottom);
      context.lineTo(at, bottom + 3);
      context.stroke();
      const centre = Math.max(half, Math.min(at, width - half)); // those at the ends move inwards
      if (centre - half < taken) continue;
      context.fillText(text, centre, height - 7);
      taken = centre + half + BESIDE / 2;
    }
  }

  drawSeries(context, { times, values }, at) {
    const { x, y, left, right, bottom } = this.scale;
    this.pen(context, at);
    let drawing = false;
    let start = 0;
    const fill = this.series.length === 1;
    const area = new Path2D();
    context.beginPath();
    for (let place = 0; place <= times.length; place++) {
      const value = values[place];
      if (place === times.length || !Number.isFinite(value)) {
        if (drawing && fill) {
          area.lineTo(x(times[place - 1]), bottom);
          area.lineTo(start, bottom);
        }
        drawing = false;
        continue;
      }
      const [px, py] = [x(times[place]), y(value)];
      if (drawing) {
        context.lineTo(px, py);
        area.lineTo(px, py);
      } else {
        context.moveTo(px, py);
        area.moveTo(px, py);
        start = px;
        drawing = true;
        const alone = !Number.isFinite(values[place + 1]);
        if (alone) context.lineTo(px + 0.5, py); // a single point is seen too
      }
    }
    context.stroke();
    if (fill) {
      context.globalAlpha = 0.15;
      context.fill(area);
      context.globalAlpha = 1;
    }
    if (times.length && times.length <= (right - left) / 24) {
      times.forEach((time, place) => {
        if (Number.isFinite(values[place])) this.marker(context, x(time), y(values[place]), at);
      });
    }
  }

  drawHover(context, height) {
    if (this.at == null) return;
    const { x, y, left, right } = this.scale;
    const at = Math.max(left, Math.min(right, x(this.at)));
    context.strokeStyle = this.dim;
    context.setLineDash([]);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(at, TOP);
    context.lineTo(at, height - BOTTOM);
    context.stroke();
    this.series.forEach(({ times, values }, index) => {
      if (!times.length) return;
      const place = nearest(times, this.at);
      if (!Number.isFinite(values[place])) return;
      this.pen(context, index);
      this.marker(context, x(times[place]), y(values[place]), index);
    });
  }

  drawTip(width) {
    const shown = this.series.filter(({ times }) => times.length);
    this.tip.hidden = this.at == null || !this.scale || !shown.length;
    if (this.tip.hidden) return;
    const { times } = shown[0];
    const moment = times[nearest(times, this.at)];
    const date = new Date(moment * 1000);
    const local = `${timeLabel(moment, DAY)} ${timeLabel(moment, 1)}`;
    const utc = date.toISOString().slice(0, 19).replace("T", " ");
    const lines = [zone(moment) === "UTC" ? `${utc} UTC` : `${local} ${zone(moment)}\n${utc} UTC`];
    const unit = this.model.get("unit");
    for (const { name, times: own, values } of shown) {
      const value = number(values[nearest(own, this.at)]);
      lines.push(`${name}: ${value}${unit && ` ${unit}`}`);
    }
    const text = lines.join("\n");
    if (this.tip.textContent !== text) this.tip.textContent = text;
    const at = this.scale.x(this.at);
    this.tip.style.top = `${this.plot.offsetTop + TOP}px`;
    this.tip.style.left = at < width / 2 ? `${at + 12}px` : "auto";
    this.tip.style.right = at < width / 2 ? "auto" : `${width - at + 12}px`;
  }
}

function isLight(color) {
  const [red, green, blue] = (color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 128;
}

function render({ model, el }) {
  const chart = new Chart(model, el);
  return () => chart.dispose();
}

export default { render };

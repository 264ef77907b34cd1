// What happened to messages, on a lane for each process that took part. Names reach the page through
// textContent only, or are drawn as text.

const TOP = 4;
const BOTTOM = 20;
const RIGHT = 14;
const REACH = 14; // pixels from a mark within which the pointer means it
const DIM = 0.13;
const ROWS = 5; // heights within a lane, so that messages that follow at once are told apart
const LIVE_SECONDS = 10;
const LIVE_MARKS = 300;
const FAULT = 17; // height of what a fault was, in words
const MAX_WAY = 14; // steps of a message's way in words

const TIME_STEPS = [1, 2, 5];

function ticksOf(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([...TIME_STEPS, 10].find((unit) => unit * power >= rough) ?? 10) * power;
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high + step / 1e6; at++) ticks.push(at * step);
  return ticks;
}

function cut(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = text.length;
  while (kept && context.measureText(`${text.slice(0, kept)}…`).width > width) kept--;
  return `${text.slice(0, kept)}…`;
}

// The marks of what the kernel has sent, in their order, with the links between them.
class Marks {
  constructor(kinds, ...batches) {
    const join = (name, Type) => {
      const parts = batches.map((batch) => numbers(Type, batch?.[name]));
      const whole = new Type(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
      }
      return whole;
    };
    this.time = join("time", Float64Array);
    this.n = join("n", Uint32Array);
    this.event = join("event", Uint32Array);
    this.delivery = join("delivery", Uint16Array);
    this.lane = join("lane", Uint8Array);
    const kind = join("kind", Uint8Array);
    this.length = this.n.length;
    this.names = Array.from(kind, (code) => kinds[code]);
    this.calm = this.names.map((name) => !lookOf(name)[3]);
    this.byEvent = new Map();
    this.faults = []; // they are of no event
    for (let at = 0; at < this.length; at++) {
      if (!this.event[at]) {
        this.faults.push(at);
        continue;
      }
      const known = this.byEvent.get(this.event[at]);
      if (known) known.push(at);
      else this.byEvent.set(this.event[at], [at]);
    }
    this.events = [...this.byEvent.keys()].sort((a, b) => a - b);
    this.links = [];
    for (const places of this.byEvent.values()) this.link(places);
  }

  // From where a message came to each of its marks.
  link(places) {
    const published = []; // copies under way to the stream
    const at = new Map(); // by lane of a consumer, its newest mark
    let [stored, last, dead] = [null, null, null];
    for (const to of places) {
      const name = this.names[to];
      const lane = this.lane[to];
      let [from, way] = [null, "calm"];
      switch (name) {
        case "published":
          published.push(to);
          break;
        case "stored":
          from = published.shift() ?? null;
          stored = to;
          break;
        case "unacknowledged":
          from = published.shift() ?? null;
          way = "lost";
          break;
        case "deduplicated":
          from = published.shift() ?? null;
          way = "dropped";
          break;
        case "delivered":
          from = stored ?? published[0] ?? null;
          at.set(lane, (last = to));
          break;
        case "redelivered":
          from = last ?? stored;
          way = "again";
          at.set(lane, (last = to));
          break;
        case "expired":
          from = last ?? stored;
          way = "again";
          last = to;
          break;
        case "dead_lettered":
          from = last ?? stored;
          way = "dead";
          dead = to;
          break;
        case "replayed":
          from = dead;
          way = "dead";
          stored = to;
          break;
        case "lost":
          from = last ?? stored ?? published.at(-1) ?? null;
          way = "lost";
          break;
        default:
          from = at.get(lane) ?? last ?? stored;
          at.set(lane, (last = to));
      }
      if (from !== null) this.links.push([from, to, way]);
    }
  }

  // How many marks come before row `n` of the record.
  before(n) {
    let [low, high] = [0, this.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.n[middle] < n) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

class Lanes extends Drawing {
  constructor(model, el) {
    super(model, el, "varco-lanes");
    this.top = TOP;
    this.view = null; // the part in sight, [low, high]; null follows
    this.pointed = null; // the mark under the pointer
    this.answers = new Map();
    this.build();
    this.listen();
    this.read();
  }

  build() {
    this.head = element("div", "varco-lanes-head");
    this.title = element("span", "varco-drawing-title");
    this.tools = element("span", "varco-lanes-tools", { role: "group", "aria-label": "View" });
    const change = (axis) => () => this.set("axis", axis);
    this.byTime = button("Time", change("time"), { title: "Places show when it happened" });
    this.byOrder = button("Order", change("order"), { title: "One step after the other" });
    const out = button("−", () => this.zoom(1.6), { "aria-label": "Zoom out", title: "Zoom out (−)" });
    const into = button("+", () => this.zoom(1 / 1.6), { "aria-label": "Zoom in", title: "Zoom in (+)" });
    this.all = button("Fit", () => this.fit(), { title: "Show all of it (0)" });
    this.tools.append(this.byTime, this.byOrder, out, into, this.all);
    this.head.append(this.title, this.tools);
    this.legend = element("div", "varco-lanes-legend", { role: "list", "aria-label": "Marks" });
    this.stage = element("div", "varco-lanes-stage");
    this.plot = element("canvas", "varco-lanes-plot", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "timeline",
      "data-lm-suppress-shortcuts": "true",
    });
    this.over = element("canvas", "varco-lanes-over", { "aria-hidden": "true" });
    this.tip = element("div", "varco-drawing-tip");
    this.tip.hidden = true;
    this.stage.append(this.plot, this.over, this.tip);
    this.note = element("div", "varco-drawing-dim varco-lanes-note");
    this.way = element("div", "varco-lanes-way", { "aria-live": "polite" });
    this.error = element("div", "varco-drawing-error", { role: "alert" });
    this.el.append(this.head, this.legend, this.stage, this.note, this.way, this.error);
  }

  listen() {
    this.on(["change:_base", "change:_tail"], () => this.wait());
    const traits = ["title", "note", "selected", "position", "axis", "live", "error", "lane_height"];
    const others = [...traits, "_lanes", "_counts", "_bands", "_faults"].map((name) => `change:${name}`);
    this.on(others, () => this.schedule());
    this.on(["change:axis"], () => (this.view = null));
    this.on(["msg:custom"], (message) => this.hear(message));
    this.watch(this.plot);
    const { plot } = this;
    plot.addEventListener("pointermove", (event) => this.onMove(event));
    plot.addEventListener("pointerleave", () => this.point(null));
    plot.addEventListener("pointerdown", (event) => this.onDown(event));
    plot.addEventListener("pointerup", (event) => this.onUp(event));
    plot.addEventListener("pointercancel", () => (this.drag = null));
    plot.addEventListener("dblclick", () => this.fit());
    plot.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    plot.addEventListener("keydown", (event) => this.onKey(event));
    plot.addEventListener("blur", () => this.point(null));
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  // Both parts come with one message of the kernel, and are read once.
  wait() {
    this.stale = true;
    this.schedule();
  }

  read() {
    this.stale = true;
    this.schedule();
  }

  hear(message) {
    if (message.type !== "about") return;
    this.answers.set(message.n, message.text);
    this.schedule();
  }

  // --- what is in sight -------------------------------------------------------------------------

  get byClock() {
    return this.model.get("axis") !== "order";
  }

  place(at) {
    return this.byClock ? this.marks.time[at] : at;
  }

  bounds() {
    const { marks } = this;
    if (!marks.length) return [0, 1];
    if (!this.byClock) return [-0.5, Math.max(marks.length - 0.5, 0.5)];
    let [low, high] = [marks.time[0], marks.time[marks.length - 1]];
    for (const [, start, end] of this.model.get("_bands")) {
      low = Math.min(low, start);
      high = Math.max(high, end);
    }
    const room = (high - low) * 0.015 || 0.0005;
    return [low - room, high + room];
  }

  sight() {
    const [low, high] = this.bounds();
    if (this.view) return this.view;
    if (!this.model.get("live")) return [low, high];
    const most = this.byClock ? LIVE_SECONDS : LIVE_MARKS;
    return [Math.max(low, high - most), high];
  }

  look(low, high) {
    const [first, last] = this.bounds();
    const least = this.byClock ? 1e-5 : 3;
    const size = Math.min(Math.max(high - low, least), last - first);
    if (size >= last - first) this.view = this.model.get("live") ? [first, last] : null;
    else {
      const from = Math.min(Math.max(low, first), last - size);
      this.view = [from, from + size];
    }
    this.schedule();
  }

  fit() {
    this.view = null;
    this.schedule();
  }

  zoom(factor, around) {
    const [low, high] = this.sight();
    const middle = around ?? this.currentPlace(low, high);
    this.look(middle - (middle - low) * factor, middle + (high - middle) * factor);
  }

  currentPlace(low, high) {
    const at = this.current();
    const place = at === null ? NaN : this.place(at);
    return place >= low && place <= high ? place : (low + high) / 2;
  }

  pan(share) {
    const [low, high] = this.sight();
    const by = (high - low) * share;
    this.look(low + by, high + by);
  }

  // --- the user ---------------------------------------------------------------------------------

  onWheel(event) {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * 0.003), this.scale?.place(event.offsetX));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      this.pan((event.deltaX || event.deltaY) / 600);
    }
  }

  onDown(event) {
    if (event.button !== 0) return;
    this.plot.setPointerCapture(event.pointerId);
    this.drag = { x: event.offsetX, to: event.offsetX, pan: event.shiftKey, view: this.sight() };
  }

  onMove(event) {
    const { drag } = this;
    if (!drag) {
      this.point(this.nearest(event.offsetX, event.offsetY));
      return;
    }
    drag.to = event.offsetX;
    if (drag.pan && this.scale) {
      const [low, high] = drag.view;
      const by = ((drag.x - drag.to) / (this.scale.right - this.scale.left)) * (high - low);
      this.look(low + by, high + by);
    }
    this.schedule();
  }

  onUp(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag || !this.scale) return;
    if (Math.abs(drag.to - drag.x) < 5) this.choose(this.nearest(event.offsetX, event.offsetY));
    else if (!drag.pan) {
      const [from, to] = [drag.x, drag.to].sort((a, b) => a - b).map((x) => this.scale.place(x));
      this.look(from, to);
    }
    this.schedule();
  }

  choose(at) {
    const event = at === null ? 0 : this.marks.event[at];
    this.set("selected", event === this.model.get("selected") ? 0 : event);
  }

  point(at) {
    if (this.pointed === at) return;
    this.pointed = at;
    this.ask(at);
    this.schedule();
  }

  // What the page does not know about a mark, the kernel does.
  ask(at) {
    clearTimeout(this.asking);
    if (at === null || this.answers.has(this.marks.n[at])) return;
    const n = this.marks.n[at];
    this.asking = setTimeout(() => this.model.send({ type: "about", n }), 60);
  }

  onKey(event) {
    const actions = {
      ArrowRight: () => (event.shiftKey ? this.pan(0.2) : this.step(1)),
      ArrowLeft: () => (event.shiftKey ? this.pan(-0.2) : this.step(-1)),
      ArrowDown: () => this.follow(1),
      ArrowUp: () => this.follow(-1),
      Home: () => this.goto(0),
      End: () => this.set("position", -1),
      Enter: () => this.choose(this.pointed ?? this.current()),
      Escape: () => (this.pointed === null ? this.set("selected", 0) : this.point(null)),
      "+": () => this.zoom(1 / 1.6),
      "=": () => this.zoom(1 / 1.6),
      "-": () => this.zoom(1.6),
      0: () => this.fit(),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.keyed = true;
    action();
  }

  // How many marks are shown, as the record is stepped through.
  shown() {
    const position = this.model.get("position");
    return position < 0 ? this.marks.length : this.marks.before(position);
  }

  // The mark that the steps have come to.
  current() {
    const shown = this.shown();
    return this.model.get("position") < 0 || !shown ? null : shown - 1;
  }

  step(by) {
    this.goto(this.model.get("position") < 0 && by > 0 ? this.marks.length - 1 : this.shown() - 1 + by);
  }

  // Show the marks up to this one.
  goto(at) {
    if (!this.marks.length) return;
    const place = Math.max(0, Math.min(this.marks.length - 1, at));
    this.set("position", this.marks.n[place] + 1);
    this.point(null);
    this.ask(place);
  }

  follow(by) {
    const { events } = this.marks;
    if (!events.length) return;
    const at = events.indexOf(this.model.get("selected"));
    const next = at < 0 ? (by > 0 ? 0 : events.length - 1) : at + by;
    this.set("selected", events[Math.max(0, Math.min(events.length - 1, next))]);
  }

  nearest(x, y) {
    if (!this.scale) return null;
    let [best, least] = [null, REACH * REACH];
    const shown = this.shown();
    const selected = this.model.get("selected");
    for (let at = 0; at < shown; at++) {
      const [dx, dy] = [this.scale.x(this.place(at)) - x, this.scale.y(at) - y];
      let distance = dx * dx + dy * dy;
      if (distance > REACH * REACH) continue;
      // of marks on one spot, what stands out is meant
      if (!this.marks.calm[at]) distance *= 0.6;
      if (selected && this.marks.event[at] === selected) distance *= 0.5;
      if (distance < least) [best, least] = [at, distance];
    }
    return best;
  }

  // --- drawing ----------------------------------------------------------------------------------

  draw() {
    if (this.stale) {
      this.stale = false;
      this.marks = new Marks(this.model.get("_kinds"), this.model.get("_base"), this.model.get("_tail"));
      this.pointed = null;
      this.answers.clear();
    }
    this.drawWords();
    const lanes = this.model.get("_lanes");
    const laneHeight = this.model.get("lane_height");
    this.top = TOP + FAULT * Math.min(2, this.marks.faults.length);
    const height = this.top + Math.max(1, lanes.length) * laneHeight + BOTTOM;
    const { context, width } = this.canvas(this.plot, height);
    this.measure(context, width, height, lanes, laneHeight);
    this.drawLanes(context, width, lanes);
    this.drawAxis(context, height);
    if (this.marks.length) {
      context.save();
      context.beginPath();
      context.rect(this.scale.left - 8, 0, width - this.scale.left + 8, height - BOTTOM);
      context.clip();
      this.drawBands(context);
      this.drawFaults(context);
      this.drawLinks(context);
      this.drawMarks(context);
      context.restore();
    } else {
      context.fillStyle = this.dim;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText("nothing happened yet", (this.scale.left + width) / 2, height / 2);
    }
    this.drawOver(width, height);
    this.drawState();
  }

  measure(context, width, height, lanes, laneHeight) {
    const order = lanes.map(([code]) => code);
    const room = Math.min(170, width / 4);
    this.labels = lanes.map(([, name]) => cut(context, name, room));
    const widest = Math.max(30, ...this.labels.map((label) => context.measureText(label).width));
    const left = Math.ceil(widest) + 24;
    const right = width - RIGHT;
    const [low, high] = this.sight();
    const rowOf = new Map(order.map((code, row) => [code, row]));
    const count = Math.min(this.marks.events.length, ROWS);
    const apart = count > 1 && this.model.get("axis") !== "time only";
    const spread = apart ? Math.max(0, laneHeight - 20) : 0;
    this.scale = {
      left,
      right,
      low,
      high,
      laneHeight,
      bottom: height - BOTTOM,
      x: (place) => left + ((place - low) / (high - low)) * (right - left),
      place: (x) => low + ((x - left) / (right - left)) * (high - low),
      row: (code) => rowOf.get(code) ?? 0,
      y: (at) => {
        const middle = this.top + (rowOf.get(this.marks.lane[at]) + 0.5) * laneHeight;
        const share = count > 1 ? ((this.marks.event[at] - 1) % count) / (count - 1) - 0.5 : 0;
        return middle + (this.marks.event[at] ? share * spread : 0);
      },
    };
  }

  drawLanes(context, width, lanes) {
    const { left, laneHeight } = this.scale;
    context.textAlign = "right";
    context.textBaseline = "middle";
    lanes.forEach((_, row) => {
      const y = this.top + row * laneHeight;
      context.fillStyle = this.text;
      if (row % 2 === 0) {
        context.globalAlpha = 0.045;
        context.fillRect(0, y, width, laneHeight);
        context.globalAlpha = 1;
      }
      context.fillText(this.labels[row], left - 16, y + laneHeight / 2);
    });
    context.strokeStyle = this.line;
    context.lineWidth = 1;
    context.setLineDash([]);
    context.beginPath();
    context.moveTo(left - 8.5, this.top);
    context.lineTo(left - 8.5, this.top + Math.max(1, lanes.length) * laneHeight);
    context.stroke();
  }

  drawAxis(context, height) {
    const { left, right, low, high, bottom, x } = this.scale;
    if (!this.marks.length) return;
    const start = this.marks.time[0];
    const count = Math.max(2, Math.floor((right - left) / 90));
    let ticks;
    if (this.byClock) {
      ticks = ticksOf(low - start, high - start, count)
        .filter((at) => at >= -1e-12)
        .map((at) => [at + start, duration(at)]);
    } else {
      // each step is as wide as the next; the time stands below it
      ticks = ticksOf(Math.max(0, low), Math.min(high, this.marks.length - 1), count)
        .filter(Number.isInteger)
        .map((at) => [at, duration(this.marks.time[at] - start)]);
    }
    context.fillStyle = this.dim;
    context.strokeStyle = this.line;
    context.lineWidth = 1;
    context.setLineDash([]);
    context.textAlign = "center";
    context.textBaseline = "middle";
    let free = left - 10;
    for (const [place, label] of ticks) {
      const at = Math.round(x(place)) + 0.5;
      if (at < left - 9 || at > right + RIGHT) continue;
      context.globalAlpha = 0.6;
      context.beginPath();
      context.moveTo(at, this.top);
      context.lineTo(at, bottom + 3);
      context.stroke();
      context.globalAlpha = 1;
      const half = context.measureText(label).width / 2;
      if (at - half < free || at + half > right + RIGHT) continue;
      context.fillText(label, at, height - 8);
      free = at + half + 10;
    }
  }

  drawBands(context) {
    if (!this.byClock) return;
    const { x, row, laneHeight } = this.scale;
    for (const [lane, start, end] of this.model.get("_bands")) {
      const y = this.top + row(lane) * laneHeight + 3;
      const [from, to] = [x(start), x(end)];
      context.fillStyle = this.colors.blue;
      context.globalAlpha = 0.16;
      context.fillRect(from, y, to - from, laneHeight - 6);
      context.globalAlpha = 1;
      context.strokeStyle = this.colors.blue;
      context.lineWidth = 1.5;
      context.setLineDash([4, 3]);
      context.beginPath();
      context.moveTo(to, y);
      context.lineTo(to, y + laneHeight - 6);
      context.stroke();
      context.setLineDash([]);
      const text = `ends after ${duration(end - start)}`;
      const inside = context.measureText(text).width + 24 < to - from;
      context.fillStyle = this.dim;
      context.textBaseline = "middle";
      context.textAlign = inside ? "right" : "left";
      context.fillText(text, inside ? to - 5 : to + 5, y + (laneHeight - 6) / 2);
    }
  }

  // Where something was broken, with what it was.
  drawFaults(context) {
    const { x, left, right, bottom } = this.scale;
    const shown = this.shown();
    const free = [left - 8, left - 8]; // how far each of the two rows of words is taken
    const labels = [];
    context.setLineDash([]);
    context.strokeStyle = this.colors.ink;
    context.lineWidth = 2;
    for (const at of this.marks.faults) {
      const place = Math.round(x(this.place(at)));
      if (at >= shown || place < left - 8 || place > right + RIGHT) continue;
      const words = this.faultInWords(at);
      const width = context.measureText(words).width + 24;
      const from = Math.max(left - 8, Math.min(place, right + RIGHT - width));
      const row = free.findIndex((end) => end <= from);
      const y = row < 0 ? this.top : this.top - FAULT * (row + 1);
      if (row >= 0 && y >= 0) {
        free[row] = from + width + 4;
        labels.push([from, y, width, words]);
      }
      context.beginPath();
      context.moveTo(place, Math.max(0, y));
      context.lineTo(place, bottom);
      context.stroke();
    }
    context.textBaseline = "middle";
    context.textAlign = "left";
    const inverse = { colors: { ink: this.back }, back: this.colors.ink };
    for (const [from, y, width, words] of labels) {
      context.fillStyle = this.colors.ink;
      context.fillRect(from, y, width, FAULT - 3);
      drawMark(context, "fault", from + 9, y + (FAULT - 3) / 2, 4, inverse);
      context.fillStyle = this.back;
      context.fillText(words, from + 18, y + (FAULT - 3) / 2);
    }
  }

  faultInWords(at) {
    const words = this.model.get("_faults");
    const { faults } = this.marks;
    return words[words.length - faults.length + faults.indexOf(at)] ?? "";
  }

  // [colour, width, dash, strength]
  linkStyle(way) {
    const { colors, dim } = this;
    return {
      calm: [dim, 1, [], 0.5],
      again: [colors.orange, 1.8, [5, 3], 1],
      dropped: [colors.ink, 1.4, [2, 2], 0.9],
      dead: [colors.purple, 2, [], 1],
      lost: [colors.red, 1.8, [2, 3], 1],
    }[way];
  }

  drawLinks(context) {
    const { marks, scale } = this;
    const shown = this.shown();
    const selected = this.model.get("selected");
    const crowded = this.inSight() > 1200;
    for (const followed of [false, true]) {
      for (const [from, to, way] of marks.links) {
        if (to >= shown) continue;
        const mine = selected !== 0 && marks.event[to] === selected;
        if (mine !== followed) continue;
        const [x1, x2] = [scale.x(this.place(from)), scale.x(this.place(to))];
        if (Math.max(x1, x2) < 0 || Math.min(x1, x2) > scale.right + RIGHT) continue;
        const [color, width, dash, strength] = this.linkStyle(way);
        context.strokeStyle = mine && way === "calm" ? this.text : color;
        context.lineWidth = mine ? width + 0.8 : width;
        context.setLineDash(dash);
        context.globalAlpha = mine ? 1 : selected ? DIM : way === "calm" && crowded ? 0.15 : strength;
        context.beginPath();
        context.moveTo(x1, scale.y(from));
        context.lineTo(x2, scale.y(to));
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  inSight() {
    const { low, high } = this.scale;
    if (!this.byClock) return high - low;
    const { time } = this.marks;
    let count = 0;
    for (let at = 0; at < time.length; at++) if (time[at] >= low && time[at] <= high) count++;
    return count;
  }

  drawMarks(context) {
    const { marks, scale } = this;
    const shown = this.shown();
    const selected = this.model.get("selected");
    const crowd = this.inSight();
    const radius = crowd < 250 ? 4.5 : crowd < 800 ? 3.5 : 2.5;
    this.drawn = {};
    this.radius = radius;
    for (const loud of [false, true]) {
      for (let at = 0; at < shown; at++) {
        if (marks.calm[at] === loud) continue;
        const name = marks.names[at];
        this.drawn[name] = (this.drawn[name] ?? 0) + 1;
        const x = scale.x(this.place(at));
        if (x < scale.left - 12 || x > scale.right + RIGHT) continue;
        const mine = marks.event[at] === selected;
        context.globalAlpha = selected && !mine && marks.event[at] ? DIM : 1;
        const loudly = marks.event[at] ? Math.max(5, radius + 1) : 8;
        const size = loud ? loudly : mine ? Math.max(4.5, radius) : radius;
        drawMark(context, name, x, scale.y(at), size, this);
      }
    }
    context.globalAlpha = 1;
  }

  drawOver(width, height) {
    const { context } = this.canvas(this.over, height);
    const at = this.pointed ?? this.current();
    this.tip.hidden = true;
    if (this.drag && !this.drag.pan && Math.abs(this.drag.to - this.drag.x) >= 5) {
      context.fillStyle = this.accent;
      context.globalAlpha = 0.18;
      context.fillRect(this.drag.x, this.top, this.drag.to - this.drag.x, height - this.top - BOTTOM);
      context.globalAlpha = 1;
    }
    if (at === null || at >= this.marks.length) return;
    const [x, y] = [this.scale.x(this.place(at)), this.scale.y(at)];
    this.cursor = [x, y];
    if (this.current() !== null) {
      const now = this.scale.x(this.place(this.current()));
      context.strokeStyle = this.accent;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(now, this.top);
      context.lineTo(now, height - BOTTOM);
      context.stroke();
    }
    if (x < this.scale.left - 12 || x > this.scale.right + RIGHT) return;
    context.strokeStyle = this.accent;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, 9, 0, PI2);
    context.stroke();
    this.drawTip(at, x, y, width);
  }

  drawTip(at, x, y, width) {
    const { marks } = this;
    const lane = this.model.get("_lanes").find(([code]) => code === marks.lane[at]);
    const offset = marks.time[at] - marks.time[0];
    const lines = [
      `${lookOf(marks.names[at])[0]} · ${lane?.[1] ?? ""}`,
      marks.event[at] ? `event ${marks.event[at]}` : this.faultInWords(at),
      `${duration(offset)} after the first · ${clock(marks.time[at])}`,
    ];
    if (marks.delivery[at]) lines.push(`delivery ${marks.delivery[at]}`);
    const known = this.answers.get(marks.n[at]);
    if (known) lines.push(known);
    const text = lines.join("\n");
    if (this.tip.textContent !== text) this.tip.textContent = text;
    this.tip.hidden = false;
    this.tip.style.left = x < width / 2 ? `${x + 14}px` : "auto";
    this.tip.style.right = x < width / 2 ? "auto" : `${width - x + 14}px`;
    this.tip.style.top = `${Math.max(0, y - 10)}px`;
  }

  // --- words ------------------------------------------------------------------------------------

  drawWords() {
    const put = (node, text) => {
      if (node.textContent !== text) node.textContent = text;
      node.hidden = !text;
    };
    put(this.title, this.model.get("title"));
    put(this.note, this.model.get("note"));
    put(this.error, this.model.get("error"));
    put(this.way, this.model.get("axis") === "time only" ? "" : this.wayInWords());
    const axis = this.model.get("axis");
    this.byTime.setAttribute("aria-pressed", String(axis === "time"));
    this.byOrder.setAttribute("aria-pressed", String(axis === "order"));
    this.byTime.hidden = this.byOrder.hidden = axis === "time only";
    this.drawLegend();
  }

  drawLegend() {
    const counts = this.model.get("_counts");
    const text = JSON.stringify([counts, this.dark, this.text]);
    if (text === this.legendText) return;
    this.legendText = text;
    const swatches = [];
    this.legend.replaceChildren(
      ...counts.map(([name, count]) => {
        const item = element("span", "varco-lanes-key", { role: "listitem", "data-kind": name });
        const swatch = element("canvas", "", { "aria-hidden": "true" });
        const label = element("span", "");
        label.textContent = lookOf(name)[0];
        const number = element("b", "");
        number.textContent = count.toLocaleString("en-US");
        item.append(swatch, label, number);
        swatches.push([swatch, name]);
        return item;
      }),
    );
    for (const [swatch, name] of swatches) {
      drawMark(this.canvas(swatch, 16).context, name, 9, 8, 4.5, this);
    }
  }

  wayInWords() {
    const event = this.model.get("selected");
    const places = event ? this.marks.byEvent.get(event) : null;
    if (!places) return event ? `event ${event}` : "";
    const lanes = new Map(this.model.get("_lanes"));
    const shown = this.shown();
    const start = this.marks.time[places[0]];
    const steps = places
      .filter((at) => at < shown)
      .map((at) => {
        const after = at === places[0] ? "" : ` +${duration(this.marks.time[at] - start)}`;
        return `${lookOf(this.marks.names[at])[0]} (${lanes.get(this.marks.lane[at])}${after})`;
      });
    if (steps.length > MAX_WAY) {
      steps.splice(MAX_WAY - 1, steps.length - MAX_WAY, `${steps.length - MAX_WAY} more`);
    }
    return `event ${event}: ${steps.join(" → ")}`;
  }

  // What is drawn, for those who do not see it.
  drawState() {
    const { marks, model } = this;
    const lanes = model.get("_lanes").map(([, name]) => name);
    const counts = model.get("_counts").map(([name, count]) => `${lookOf(name)[0]} ${count}`);
    const words = [model.get("title") || "Timeline", `lanes ${lanes.join(", ")}`, counts.join(", ")];
    words.push(...model.get("_faults"));
    this.plot.setAttribute("aria-label", [...words, model.get("note")].filter(Boolean).join("; "));
    const { dataset } = this.plot;
    dataset.marks = marks.length;
    dataset.shown = this.shown();
    dataset.events = marks.events.length;
    dataset.links = marks.links.length;
    dataset.selected = model.get("selected");
    dataset.position = model.get("position");
    dataset.drawn = JSON.stringify(marks.length ? this.drawn : {});
    dataset.sight = JSON.stringify([this.scale.low, this.scale.high]);
    dataset.faults = JSON.stringify(marks.faults.map((at) => this.faultInWords(at)));
    dataset.bands = model.get("_bands").length;
    const at = this.pointed ?? this.current();
    dataset.cursor = at === null ? "" : [this.scale.x(this.place(at)), this.scale.y(at)].join();
  }
}

function render({ model, el }) {
  const lanes = new Lanes(model, el);
  return () => lanes.dispose();
}

export default { render };

// Histograms of durations on one logarithmic scale.

const D_TOP = 4;
const D_BOTTOM = 20;
const D_ROW = 54;
const D_LEFT = 150;
const D_RIGHT = 14;

class Durations extends Drawing {
  constructor(model, el) {
    super(model, el, "varco-durations");
    this.title = element("div", "varco-drawing-title");
    this.stage = element("div", "varco-durations-stage");
    this.plot = element("canvas", "varco-durations-plot", { role: "img" });
    this.tip = element("div", "varco-drawing-tip");
    this.tip.hidden = true;
    this.stage.append(this.plot, this.tip);
    this.error = element("div", "varco-drawing-error", { role: "alert" });
    el.append(this.title, this.stage, this.error);
    this.on(
      ["_edges", "_spreads", "title", "error"].map((name) => `change:${name}`),
      () => this.schedule(),
    );
    this.plot.addEventListener("pointermove", (event) => this.hover(event));
    this.plot.addEventListener("pointerleave", () => (this.tip.hidden = true));
    this.watch(this.plot);
    this.schedule();
  }

  draw() {
    this.title.textContent = this.model.get("title");
    this.error.textContent = this.model.get("error");
    this.error.hidden = !this.error.textContent;
    const edges = this.model.get("_edges");
    const spreads = this.model.get("_spreads");
    const height = D_TOP + Math.max(1, spreads.length) * D_ROW + D_BOTTOM;
    const { context, width } = this.canvas(this.plot, height);
    const known = spreads.filter(({ count }) => count);
    const words = spreads.map(
      ({ name, count, median, p95, most }) =>
        `${name}: ${count} events` +
        (count ? `, median ${duration(median)}, p95 ${duration(p95)}, most ${duration(most)}` : ""),
    );
    this.plot.setAttribute("aria-label", words.join("; ") || "no durations");
    this.plot.dataset.counts = JSON.stringify(spreads.map(({ name, count }) => [name, count]));
    context.textBaseline = "middle";
    if (!known.length) {
      this.scale = null;
      context.fillStyle = this.dim;
      context.textAlign = "center";
      context.fillText("nothing was stored yet", width / 2, height / 2);
      return;
    }
    const [low, high] = [Math.log10(edges[0]), Math.log10(edges.at(-1))];
    const room = width - D_LEFT - D_RIGHT;
    const x = (seconds) => D_LEFT + ((Math.log10(seconds) - low) / (high - low || 1)) * room;
    this.scale = { x, edges, spreads };
    this.axis(context, x, edges, height, width);
    spreads.forEach((spread, row) => this.row(context, spread, row, x, edges));
  }

  axis(context, x, edges, height, width) {
    context.textAlign = "center";
    context.lineWidth = 1;
    context.setLineDash([]);
    let free = 0;
    const few = Math.log10(edges.at(-1) / edges[0]) < 1.5;
    for (let power = -6; power <= 6; power++) {
      for (const unit of few ? [1, 2, 5] : [1]) {
        const seconds = unit * 10 ** power;
        if (seconds < edges[0] * 0.999 || seconds > edges.at(-1) * 1.001) continue;
        const at = Math.round(x(seconds)) + 0.5;
        context.strokeStyle = this.line;
        context.beginPath();
        context.moveTo(at, D_TOP);
        context.lineTo(at, height - D_BOTTOM + 3);
        context.stroke();
        const label = duration(Number(seconds.toPrecision(3)));
        const half = context.measureText(label).width / 2;
        if (at - half < free || at + half > width) continue;
        context.fillStyle = this.dim;
        context.fillText(label, at, height - 8);
        free = at + half + 8;
      }
    }
  }

  row(context, { name, look, counts, count, median, p95 }, row, x, edges) {
    const base = D_TOP + (row + 1) * D_ROW - 4;
    const color = this.colors[lookOf(look)[1]];
    context.textAlign = "left";
    context.fillStyle = this.text;
    context.fillText(name, 24, base - 34);
    drawMark(context, look, 11, base - 34, 4.5, this);
    context.fillStyle = this.dim;
    const stats = count ? [`median ${duration(median)}`, `p95 ${duration(p95)}`] : ["none yet"];
    stats.forEach((text, at) => context.fillText(text, 24, base - 19 + at * 14));
    const highest = Math.max(1, ...counts);
    counts.forEach((value, at) => {
      if (!value) return;
      const [from, to] = [x(edges[at]), x(edges[at + 1])];
      const tall = Math.max(2, (value / highest) * (D_ROW - 12));
      context.globalAlpha = 0.45;
      context.fillStyle = color;
      context.fillRect(from + 0.5, base - tall, Math.max(2, to - from - 1), tall);
      context.globalAlpha = 1;
      context.fillRect(from + 0.5, base - tall, Math.max(2, to - from - 1), 2);
    });
    context.strokeStyle = this.line;
    context.beginPath();
    context.moveTo(D_LEFT, base + 0.5);
    context.lineTo(x(edges.at(-1)), base + 0.5);
    context.stroke();
  }

  hover(event) {
    this.tip.hidden = true;
    if (!this.scale) return;
    const { x, edges, spreads } = this.scale;
    const spread = spreads[Math.floor((event.offsetY - D_TOP) / D_ROW)];
    const bin = edges.findIndex((edge, at) => at && x(edges[at - 1]) <= event.offsetX && event.offsetX < x(edge));
    if (!spread || bin < 1) return;
    const range = `${duration(Number(edges[bin - 1].toPrecision(3)))} to ${duration(Number(edges[bin].toPrecision(3)))}`;
    const all = spread.count ? `\nmost ${duration(spread.most)}` : "";
    this.tip.textContent = `${spread.name}: ${spread.counts[bin - 1]} of ${spread.count} events\n${range}${all}`;
    this.tip.hidden = false;
    const width = this.plot.clientWidth;
    const right = event.offsetX > width / 2;
    this.tip.style.left = right ? "auto" : `${event.offsetX + 14}px`;
    this.tip.style.right = right ? `${width - event.offsetX + 14}px` : "auto";
    this.tip.style.top = `${event.offsetY}px`;
  }
}

function render({ model, el }) {
  const made = new Durations(model, el);
  return () => made.dispose();
}

export default { render };

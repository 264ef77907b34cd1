// Bars that are divided into parts, with the sums in words.

class Flow extends Drawing {
  constructor(model, el) {
    super(model, el, "varco-flow");
    this.list = element("div", "varco-flow-stages");
    this.error = element("div", "varco-drawing-error", { role: "alert" });
    el.append(this.list, this.error);
    this.on(["change:_stages", "change:error"], () => this.schedule());
    this.watch(this.list);
    this.schedule();
  }

  draw() {
    this.error.textContent = this.model.get("error");
    this.error.hidden = !this.error.textContent;
    const stages = this.model.get("_stages");
    this.swatches = [];
    this.list.replaceChildren(...stages.map((stage) => this.stage(stage)));
    for (const [node, look, size] of this.swatches) {
      const { context, width } = this.canvas(node, 16);
      drawMark(context, look, width / 2, 8, size, this);
    }
  }

  stage({ title, total, parts }) {
    const node = element("section", "varco-flow-stage", { "aria-label": title });
    const head = element("div", "varco-flow-head");
    const name = element("span", "varco-drawing-title");
    name.textContent = title;
    const sum = element("b", "varco-flow-total", { "data-total": total });
    sum.textContent = total.toLocaleString("en-US");
    head.append(name, sum);
    const bar = element("div", "varco-flow-bar", { "aria-hidden": "true" });
    for (const part of parts.filter(({ count }) => count)) {
      const piece = element("div", "varco-flow-piece", { title: `${part.count} ${part.words}` });
      const color = this.colors[lookOf(part.look)[1]];
      piece.style.flexGrow = part.count;
      piece.style.background = `color-mix(in srgb, ${color} 28%, var(--varco-back))`;
      piece.style.borderTopColor = color;
      const count = element("span", "");
      count.textContent = part.count.toLocaleString("en-US");
      piece.append(this.swatch(part.look), count);
      bar.append(piece);
    }
    const words = element("div", "varco-flow-words");
    parts.forEach((part, at) => {
      const item = element("span", part.count ? "" : "varco-flow-none", {
        "data-part": part.name,
        "data-count": part.count,
      });
      const count = element("b", "");
      count.textContent = part.count.toLocaleString("en-US");
      item.append(at ? "+ " : "= ", count, ` ${part.words}`);
      words.append(item);
    });
    node.append(head, bar, words);
    return node;
  }

  swatch(look) {
    const node = element("canvas", "");
    this.swatches.push([node, look, 4.5]);
    return node;
  }
}

function render({ model, el }) {
  const flow = new Flow(model, el);
  return () => flow.dispose();
}

export default { render };

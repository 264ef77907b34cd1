// What the canvases of this package share: colours, themes, sharp pixels, times in words. It is put
// before a module that draws, as there is no build step.

function element(tag, className, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function button(label, onClick, attributes = {}) {
  const made = element("button", "", { type: "button", ...attributes });
  made.textContent = label;
  made.addEventListener("click", onClick);
  return made;
}

// Bytes of the kernel as numbers of a type.
function numbers(Type, view) {
  if (!view) return new Type(0);
  if (view instanceof ArrayBuffer) return new Type(view);
  return new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// A length of time in words that fit beside a mark.
function duration(seconds) {
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 0.0009995) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (size < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  if (size < 120) return `${Number(seconds.toFixed(3))} s`;
  if (size < 7200) return `${Number((seconds / 60).toFixed(1))} min`;
  return `${Number((seconds / 3600).toFixed(1))} h`;
}

function clock(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 23).replace("T", " ")} UTC`;
}

function isLight(color) {
  const [red, green, blue] = (color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 128;
}

// What draws on canvases within `el` and follows size and theme; `draw` is called when it should.
class Drawing {
  constructor(model, el, className) {
    this.model = model;
    this.el = el;
    this.handlers = [];
    el.classList.add("varco-drawing", className);
    this.probe = element("span", "varco-drawing-probe");
    el.append(this.probe);
  }

  on(names, handler) {
    for (const name of names) {
      this.model.on(name, handler);
      this.handlers.push([name, handler]);
    }
  }

  watch(node) {
    const redraw = () => this.schedule();
    this.sized = node;
    this.resizes = new ResizeObserver(redraw);
    this.resizes.observe(node);
    // JupyterLab and VS Code change the theme on the body
    this.themes = new MutationObserver(redraw);
    const options = { attributes: true, attributeFilter: ["class", "data-jp-theme-name"] };
    this.themes.observe(document.body, options);
    // of JupyterLab, the style sheet of the new theme comes later
    document.head.addEventListener("load", redraw, true);
    this.unload = () => document.head.removeEventListener("load", redraw, true);
  }

  dispose() {
    for (const [name, handler] of this.handlers) this.model.off(name, handler);
    this.unload?.();
    this.resizes?.disconnect();
    this.themes?.disconnect();
    cancelAnimationFrame(this.frame);
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.sized.clientWidth) {
        this.style();
        this.draw();
        return;
      }
      // not laid out now; an element observed anew is reported as soon as it has a size
      this.resizes.unobserve(this.sized);
      this.resizes.observe(this.sized);
    });
  }

  style() {
    const style = getComputedStyle(this.el);
    const read = (name) => style.getPropertyValue(name).trim();
    this.text = style.color;
    this.dim = this.colorOf(read("--varco-dim"), this.text);
    this.line = this.colorOf(read("--varco-line"), "#8886");
    this.back = this.colorOf(read("--varco-back"), "#fff");
    this.accent = this.colorOf(read("--varco-accent"), "#1976d2");
    this.font = `11px ${style.fontFamily}`;
    this.dark = isLight(this.text);
    this.colors = { ...(this.dark ? COLORS_ON_DARK : COLORS_ON_LIGHT), ink: this.text };
  }

  // A canvas knows neither variables nor system colours in all browsers.
  colorOf(value, otherwise) {
    if (!value) return otherwise;
    this.probe.style.color = "";
    this.probe.style.color = value;
    return getComputedStyle(this.probe).color || otherwise;
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
    context.font = this.font;
    return { context, width, height };
  }
}

// Okabe and Ito's colours, told apart by colour-blind people
const COLORS_ON_LIGHT = {
  blue: "#0072B2",
  green: "#009E73",
  orange: "#E69F00",
  red: "#D55E00",
  purple: "#CC79A7",
};
const COLORS_ON_DARK = { ...COLORS_ON_LIGHT, blue: "#56B4E9" };

// What views that draw on canvases share: colours, themes, sharp pixels.

import "./drawing.css";
import { isLight, markColors } from "./colors.js";
import { element, showText } from "./dom.js";
import { listen } from "./model.js";
import { Redraw } from "./redraw.js";

/**
 * A view that draws on canvases and follows size and theme; `draw` is called when it should.
 *
 * @template {Record<string, any>} State
 */
export class Drawing {
  text = "";
  dim = "";
  line = "";
  back = "";
  accent = "";
  font = "";
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
    const schedule = () => this.schedule();
    // JupyterLab and VS Code change the theme on the body
    const themes = new MutationObserver(schedule);
    themes.observe(document.body, {
      attributes: true,
      attributeFilter: ["class", "data-jp-theme-name"],
    });
    // of JupyterLab, the style sheet of the new theme comes later
    document.head.addEventListener("load", schedule, true);
    this.endings = [
      () => this.redraw.dispose(),
      () => themes.disconnect(),
      () => document.head.removeEventListener("load", schedule, true),
    ];
  }

  /** Draws. */
  draw() {}

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
    const context = /** @type {CanvasRenderingContext2D} */ (node.getContext("2d"));
    context.font = this.font;
    return context;
  }

  /**
   * Makes a canvas as wide as its place and clears it.
   *
   * @param {HTMLCanvasElement} node
   * @param {number} height in pixels
   */
  canvas(node, height) {
    node.style.height = `${height}px`;
    const ratio = window.devicePixelRatio || 1;
    const width = node.clientWidth;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (node.width !== wide) node.width = wide;
    if (node.height !== high) node.height = high;
    const context = this.contextOf(node);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  }
}

// What views that draw on canvases share: colours, themes, sharp pixels.

import "./drawing.css";
import { isLight, markColors } from "./colors.js";
import { element, placeTip, showText } from "./dom.js";
import { listen } from "./model.js";
import { Redraw } from "./redraw.js";

const FONT = 13; // pixels of JupyterLab's font, for which views draw

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
  fontScale = 1; // by how much JupyterLab's font is larger than the 13 pixels that is drawn for
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
    this.redraw.watch(this.probe); // its size is that of the font
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
    const context = /** @type {CanvasRenderingContext2D} */ (node.getContext("2d"));
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
}

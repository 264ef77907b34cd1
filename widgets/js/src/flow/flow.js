// Bars that are divided into parts, with the sums in words.

import "./flow.css";
import { element } from "../common/dom.js";
import { Drawing } from "../common/drawing.js";
import { drawMark, lookOf } from "../common/looks.js";
import { onChange, widgetOf } from "../common/model.js";
import { grouped } from "../common/numbers.js";

/** @typedef {{words: string, count: number, look: string}} Share */
/** @typedef {{title: string, total: number, parts: Share[]}} Stage */
/** @typedef {{error: string, _stages: Stage[]}} State */

/** @extends {Drawing<State>} */
class Flow extends Drawing {
  /** @type {[HTMLCanvasElement, string][]} */
  swatches = []; // with their looks

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
}

/**
 * @param {Share} part
 * @param {number} index
 */
function inWords({ words, count }, index) {
  const item = element("span", count ? "" : "varco-flow-none");
  item.append(index ? "+ " : "= ", element("b", "", {}, grouped(count)), ` ${words}`);
  return item;
}

export default widgetOf(Flow);

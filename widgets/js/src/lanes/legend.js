// Which marks there are in a timeline, and how many of each.

import { element } from "../common/dom.js";
import { drawMark, lookOf } from "../common/looks.js";
import { grouped } from "../common/numbers.js";

export class Legend {
  node = element("div", "varco-lanes-legend", { role: "list", "aria-label": "Marks" });
  drawn = ""; // from what

  /**
   * @param {import("../common/drawing.js").Drawing<any>} theme
   * @param {[look: string, count: number][]} counts
   */
  draw(theme, counts) {
    const drawn = JSON.stringify([counts, theme.isDark, theme.text, theme.fontScale]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    /** @type {[HTMLCanvasElement, string][]} */
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
}

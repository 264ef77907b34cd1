// The ways of messages in a timeline: marks, and the links between them.

import { strokeLine } from "../common/canvas.js";
import { drawMark } from "../common/looks.js";
import { RIGHT } from "./scale.js";

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {import("./scale.js").Scale} Scale */
/** @typedef {import("../common/drawing.js").Drawing<any>} Theme */
/** @typedef {{color: string, width: number, dash: number[], strength: number}} Line */

const DIM = 0.13;

/**
 * How links look.
 *
 * @param {Theme} theme
 * @returns {Record<import("./marks.js").Way, Line>}
 */
function lines({ colors, dim }) {
  return {
    calm: { color: dim, width: 1, dash: [], strength: 0.5 },
    again: { color: colors.orange, width: 1.8, dash: [5, 3], strength: 1 },
    dropped: { color: colors.ink, width: 1.4, dash: [2, 2], strength: 0.9 },
    dead: { color: colors.purple, width: 2, dash: [], strength: 1 },
    lost: { color: colors.red, width: 1.8, dash: [2, 3], strength: 1 },
  };
}

/**
 * Draws links, those of the selected event on top.
 *
 * @param {Context} context
 * @param {Theme} theme
 * @param {Scale} scale
 * @param {number} shown
 * @param {number} selected event; 0 for none
 */
export function drawLinks(context, theme, scale, shown, selected) {
  const { marks } = scale;
  const styles = lines(theme);
  const calmStrength = scale.countInSight() > 1200 ? 0.15 : styles.calm.strength;
  for (const isMine of [false, true]) {
    for (const [from, to, way] of marks.links) {
      if (to >= shown || (selected !== 0 && marks.event[to] === selected) !== isMine) continue;
      const [x1, x2] = [scale.xOf(from), scale.xOf(to)];
      if (Math.max(x1, x2) < 0 || Math.min(x1, x2) > scale.right + RIGHT) continue;
      const { color, width, dash, strength } = styles[way];
      context.strokeStyle = isMine && way === "calm" ? theme.text : color;
      context.lineWidth = isMine ? width + 0.8 : width;
      context.setLineDash(dash);
      const alone = way === "calm" ? calmStrength : strength;
      context.globalAlpha = isMine ? 1 : selected ? DIM : alone;
      strokeLine(context, x1, scale.yOf(from), x2, scale.yOf(to));
    }
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
}

/**
 * Draws marks, those that stand out on top.
 *
 * @param {Context} context
 * @param {Theme} theme
 * @param {Scale} scale
 * @param {number} shown
 * @param {number} selected event; 0 for none
 */
export function drawMarks(context, theme, scale, shown, selected) {
  const { marks } = scale;
  const crowd = scale.countInSight();
  const radius = crowd < 250 ? 4.5 : crowd < 800 ? 3.5 : 2.5;
  for (const isLoud of [false, true]) {
    for (let mark = 0; mark < shown; mark++) {
      const x = scale.xOf(mark);
      if (marks.isLoud[mark] !== isLoud || !scale.isInSight(x)) continue;
      const event = marks.event[mark];
      const isMine = event === selected;
      const calmRadius = isMine ? Math.max(4.5, radius) : radius;
      const loudRadius = event ? Math.max(5, radius + 1) : 8;
      context.globalAlpha = selected && !isMine && event ? DIM : 1;
      const size = isLoud ? loudRadius : calmRadius;
      drawMark(context, marks.looks[mark], x, scale.yOf(mark), size, theme);
    }
  }
  context.globalAlpha = 1;
}

// What is behind the marks of a timeline: lanes, the axis, windows, faults.

import { strokeLine, thinPen } from "../common/canvas.js";
import { drawMark } from "../common/looks.js";
import { ticksOf } from "../common/numbers.js";
import { duration } from "../common/times.js";
import { FAULT, RIGHT } from "./scale.js";
import { faultWords } from "./words.js";

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {import("./scale.js").Scale} Scale */
/** @typedef {import("../common/drawing.js").Drawing<any>} Theme */

/**
 * @param {Context} context
 * @param {Theme} theme
 * @param {Scale} scale
 * @param {string[]} labels
 */
export function drawLanes(context, theme, scale, labels) {
  const { left, top, bottom, laneHeight } = scale;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillStyle = theme.text;
  labels.forEach((label, row) => {
    const y = top + row * laneHeight;
    if (row % 2 === 0) {
      context.globalAlpha = 0.045;
      context.fillRect(0, y, scale.width, laneHeight);
      context.globalAlpha = 1;
    }
    context.fillText(label, left - 16, y + laneHeight / 2);
  });
  thinPen(context, theme.line);
  strokeLine(context, left - 8.5, top, left - 8.5, bottom);
}

/**
 * @param {Context} context
 * @param {Theme} theme
 * @param {Scale} scale
 */
export function drawAxis(context, theme, scale) {
  const { left, right, top, bottom } = scale;
  thinPen(context, theme.line);
  context.fillStyle = theme.dim;
  context.textAlign = "center";
  context.textBaseline = "middle";
  let free = left - 10;
  for (const [place, label] of axisTicks(scale)) {
    const x = Math.round(scale.x(place)) + 0.5;
    if (x < left - 9 || x > right + RIGHT) continue;
    context.globalAlpha = 0.6;
    strokeLine(context, x, top, x, bottom + 3);
    context.globalAlpha = 1;
    const half = context.measureText(label).width / 2;
    if (x - half < free || x + half > right + RIGHT) continue;
    context.fillText(label, x, scale.height - 8);
    free = x + half + 10;
  }
}

/**
 * Places with the time since the first mark; where each step is as wide as the next, too.
 *
 * @param {Scale} scale
 * @returns {[place: number, label: string][]}
 */
function axisTicks({ marks, byTime, low, high, left, right }) {
  if (!marks.length) return [];
  const [start] = marks.time;
  const count = Math.max(2, Math.floor((right - left) / 90));
  if (byTime) {
    return ticksOf(low - start, high - start, count)
      .filter((time) => time >= -1e-12)
      .map((time) => [time + start, duration(time)]);
  }
  return ticksOf(Math.max(0, low), Math.min(high, marks.length - 1), count)
    .filter(Number.isInteger)
    .map((index) => [index, duration(marks.time[index] - start)]);
}

/**
 * @param {Context} context
 * @param {Theme} theme
 * @param {Scale} scale
 * @param {import("./sight.js").Band[]} bands
 */
export function drawBands(context, theme, scale, bands) {
  if (!scale.byTime) return;
  const height = scale.laneHeight - 6;
  for (const [lane, start, end] of bands) {
    const y = scale.top + scale.rowOf(lane) * scale.laneHeight + 3;
    const [from, to] = [scale.x(start), scale.x(end)];
    context.fillStyle = context.strokeStyle = theme.colors.blue;
    context.globalAlpha = 0.16;
    context.fillRect(from, y, to - from, height);
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.setLineDash([4, 3]);
    strokeLine(context, to, y, to, y + height);
    const text = `ends after ${duration(end - start)}`;
    const isInside = context.measureText(text).width + 24 < to - from;
    context.fillStyle = theme.dim;
    context.textBaseline = "middle";
    context.textAlign = isInside ? "right" : "left";
    context.fillText(text, isInside ? to - 5 : to + 5, y + height / 2);
  }
}

/**
 * Where something was broken, with what it was in the room above the lanes.
 *
 * @param {Context} context
 * @param {Theme} theme
 * @param {Scale} scale
 * @param {string[]} faults the newest in words
 * @param {number} shown
 */
export function drawFaults(context, theme, scale, faults, shown) {
  const { marks, left, right, top, bottom } = scale;
  const { ink } = theme.colors;
  const free = [left - 8, left - 8]; // how far each of the two rows of words is taken
  /** @type {[x: number, y: number, width: number, words: string][]} */
  const labels = [];
  context.setLineDash([]);
  context.strokeStyle = ink;
  context.lineWidth = 2;
  for (const mark of marks.faults) {
    const x = Math.round(scale.xOf(mark));
    if (mark >= shown || x < left - 8 || x > right + RIGHT) continue;
    const words = faultWords(marks, faults, mark);
    const width = context.measureText(words).width + 24;
    const from = Math.max(left - 8, Math.min(x, right + RIGHT - width));
    const row = free.findIndex((end) => end <= from);
    const y = row < 0 ? top : top - FAULT * (row + 1);
    if (row >= 0 && y >= 0) {
      free[row] = from + width + 4;
      labels.push([from, y, width, words]);
    }
    strokeLine(context, x, Math.max(0, y), x, bottom);
  }
  context.textBaseline = "middle";
  context.textAlign = "left";
  const inverse = { colors: { ...theme.colors, ink: theme.back }, back: ink };
  for (const [x, y, width, words] of labels) {
    const middle = y + (FAULT - 3) / 2;
    context.fillStyle = ink;
    context.fillRect(x, y, width, FAULT - 3);
    drawMark(context, "fault", x + 9, middle, 4, inverse);
    context.fillStyle = theme.back;
    context.fillText(words, x + 18, middle);
  }
}

// What is drawn in more than one picture.

/** @typedef {CanvasRenderingContext2D} Context */

/**
 * @param {Context} context
 * @param {number} fromX
 * @param {number} fromY
 * @param {number} toX
 * @param {number} toY
 */
export function strokeLine(context, fromX, fromY, toX, toY) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}

/**
 * Has the next lines drawn thin, without dashes.
 *
 * @param {Context} context
 * @param {string} color
 */
export function thinPen(context, color) {
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.setLineDash([]);
}

/**
 * As much of a text as has room.
 *
 * @param {Context} context
 * @param {string} text
 * @param {number} width in pixels
 */
export function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let kept = text.length;
  while (kept && context.measureText(`${text.slice(0, kept)}…`).width > width) kept--;
  return `${text.slice(0, kept)}…`;
}

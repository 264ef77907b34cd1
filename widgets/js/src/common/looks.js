// How each thing that can happen to a message looks: words, and a colour and a shape of its own.

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {import("./colors.js").Color} Color */
/** @typedef {{colors: Record<Color, string>, back: string}} Paints */

/**
 * Shapes are paths of a radius of 1, as SVG has them; the width of lines is in pixels.
 *
 * @typedef {object} Look
 * @property {string} words
 * @property {Color} color
 * @property {string} [lines] in the colour
 * @property {string} [area] filled with the colour
 * @property {Color | "back"} [edge] of the area
 * @property {[lines: string, color: Color | "back", width: number]} [sign] on top
 */

const RING = "M.9 0A.9 .9 0 1 1-.9 0A.9 .9 0 1 1 .9 0Z";
const BOX = "M-1-1H1V1H-1Z";
const SLASH = "M-1.4 1.4L1.4-1.4";
const TICK = "M-1 0L-.2 .8L1-.9";
const SMALL_CROSS = "M-.4-.4L.4 .4M-.4 .4L.4-.4";
const DISC = "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z";
const LARGE_DISC = "M1.3 0A1.3 1.3 0 1 1-1.3 0A1.3 1.3 0 1 1 1.3 0Z";
const DISCS = "M0-.66A1 1 0 1 0 0 .66A1 1 0 0 1 0-.66ZM1.75 0A1 1 0 1 1-.25 0A1 1 0 1 1 1.75 0Z";
const TRIANGLES = "M-1.3-1L.1 0L-1.3 1ZM.1-1L1.4 0L.1 1Z";
const DIAMOND = "M0-1.2L1.2 0L0 1.2L-1.2 0Z";
const OCTAGON = "M-.45-1H.45L1-.45V.45L.45 1H-.45L-1 .45V-.45Z";
/** @type {Look["sign"]} */
const BAR = ["M-.5 0H.5", "back", 2];
const BOLT = "M.3-1.5L-1 .25H-.2L-.4 1.5L1-.4H.1Z";

/** @type {Record<string, Look>} */
const LOOKS = {
  published: { words: "published", color: "blue", lines: RING },
  stored: { words: "stored", color: "blue", area: "M-.9-.9H.9V.9H-.9Z" },
  unacknowledged: { words: "no PubAck", color: "red", lines: `${BOX}${SMALL_CROSS}` },
  deduplicated: { words: "dropped as a duplicate", color: "ink", lines: `${BOX}${SLASH}` },
  skipped: { words: "skipped by the deduplicator", color: "ink", lines: `${RING}${SLASH}` },
  delivered: { words: "delivered", color: "green", lines: "M-.8-1L1 0L-.8 1Z" },
  redelivered: { words: "delivered again", color: "orange", area: TRIANGLES, edge: "ink" },
  handled: { words: "handled", color: "green", area: DISC },
  handled_again: { words: "handled again", color: "red", area: DISCS, edge: "ink" },
  failed: { words: "failed", color: "red", sign: ["M-1-1L1 1M-1 1L1-1", "red", 2.4] },
  acked: { words: "acknowledged", color: "green", lines: TICK },
  ack_lost: { words: "ack lost", color: "red", lines: TICK, sign: ["M-1.2-1L1.2 1", "red", 2] },
  naked: { words: "handed back (nak)", color: "orange", area: "M.8-1L-1 0L.8 1Z", edge: "ink" },
  terminated: { words: "given up (term)", color: "red", area: OCTAGON, sign: BAR },
  expired: { words: "ack_wait over", color: "orange", area: "M-1-1H1L-1 1H1Z", edge: "ink" },
  dead_lettered: {
    words: "dead letter",
    color: "purple",
    area: DIAMOND,
    edge: "ink",
    sign: [SMALL_CROSS, "ink", 1.4],
  },
  replayed: { words: "replayed", color: "purple", lines: `${DIAMOND}M-.5 0H.5M0-.5V.5` },
  lost: { words: "lost", color: "red", area: LARGE_DISC, sign: [SMALL_CROSS, "back", 2] },
  fault: { words: "fault", color: "ink", area: BOLT, edge: "back" },
};

const CALM = ["published", "stored", "delivered", "handled", "acked"];

/**
 * @param {string} name
 * @returns {Look}
 */
export const lookOf = (name) => LOOKS[name] ?? { words: name, color: "ink", lines: RING };

/**
 * Whether a look stands out.
 *
 * @param {string} name
 */
export const isLoud = (name) => !CALM.includes(name);

/** @type {Map<string, Path2D>} */
const paths = new Map();

/** @param {string} shape */
function pathOf(shape) {
  const path = paths.get(shape) ?? new Path2D(shape);
  paths.set(shape, path);
  return path;
}

/**
 * @param {Context} context
 * @param {string} name of the look
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 * @param {Paints} paints
 */
export function drawMark(context, name, x, y, radius, { colors, back }) {
  const { color, lines, area, edge, sign } = lookOf(name);
  const paints = { ...colors, back };
  /** @type {(shape: string, color: Color | "back", width: number) => void} */
  const stroke = (shape, paint, width) => {
    context.strokeStyle = paints[paint];
    context.lineWidth = width / radius;
    context.stroke(pathOf(shape));
  };
  context.save();
  context.translate(x, y);
  context.scale(radius, radius);
  context.setLineDash([]);
  context.lineJoin = "round";
  context.fillStyle = colors[color];
  if (area) context.fill(pathOf(area));
  if (area && edge) stroke(area, edge, 0.8);
  if (lines) stroke(lines, color, 1.6);
  if (sign) stroke(...sign);
  context.restore();
}

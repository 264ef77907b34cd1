// How each thing that can happen to a message looks: words, and a colour and a shape of its own.

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {{colors: Record<import("./colors.js").Color, string>, back: string}} Paints */

/**
 * @typedef {object} Look
 * @property {string} words
 * @property {import("./colors.js").Color} color
 * @property {keyof typeof SHAPES} shape
 * @property {boolean} [isLoud] whether it stands out
 */

const TURN = 2 * Math.PI;

/** @type {Record<string, Look>} */
const LOOKS = {
  published: { words: "published", color: "blue", shape: "ring" },
  stored: { words: "stored", color: "blue", shape: "square" },
  unacknowledged: { words: "no PubAck", color: "red", shape: "boxed", isLoud: true },
  deduplicated: { words: "dropped as a duplicate", color: "ink", shape: "struck", isLoud: true },
  skipped: { words: "skipped by the deduplicator", color: "ink", shape: "slashed", isLoud: true },
  delivered: { words: "delivered", color: "green", shape: "triangle" },
  redelivered: { words: "delivered again", color: "orange", shape: "doubled", isLoud: true },
  handled: { words: "handled", color: "green", shape: "disc" },
  handled_again: { words: "handled again", color: "red", shape: "twin", isLoud: true },
  failed: { words: "failed", color: "red", shape: "cross", isLoud: true },
  acked: { words: "acknowledged", color: "green", shape: "tick" },
  ack_lost: { words: "ack lost", color: "red", shape: "unticked", isLoud: true },
  naked: { words: "handed back (nak)", color: "orange", shape: "back", isLoud: true },
  terminated: { words: "given up (term)", color: "red", shape: "stop", isLoud: true },
  expired: { words: "ack_wait over", color: "orange", shape: "hourglass", isLoud: true },
  dead_lettered: { words: "dead letter", color: "purple", shape: "diamond", isLoud: true },
  replayed: { words: "replayed", color: "purple", shape: "plus", isLoud: true },
  lost: { words: "lost", color: "red", shape: "lost", isLoud: true },
  fault: { words: "fault", color: "ink", shape: "bolt", isLoud: true },
};

/**
 * @param {string} name
 * @returns {Look}
 */
export const lookOf = (name) => LOOKS[name] ?? { words: name, color: "ink", shape: "ring" };

/**
 * @param {Context} context
 * @param {string} name of the look
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 * @param {Paints} paints
 */
export function drawMark(context, name, x, y, radius, { colors, back }) {
  const { color, shape } = lookOf(name);
  context.setLineDash([]);
  context.lineJoin = "round";
  context.lineWidth = 1.6;
  context.strokeStyle = context.fillStyle = colors[color];
  SHAPES[shape](context, x, y, radius, colors.ink, back);
}

/** @typedef {[number, number]} Point */

/**
 * @param {Context} context
 * @param {number} x
 * @param {number} y
 * @param {Point[]} points relative to that place
 */
function polygon(context, x, y, ...points) {
  context.beginPath();
  for (const [dx, dy] of points) context.lineTo(x + dx, y + dy);
  context.closePath();
}

/**
 * @param {Context} context
 * @param {number} x
 * @param {number} y
 * @param {[...Point, ...Point][]} lines each from a place to another
 */
function strokes(context, x, y, ...lines) {
  context.beginPath();
  for (const [fromX, fromY, toX, toY] of lines) {
    context.moveTo(x + fromX, y + fromY);
    context.lineTo(x + toX, y + toY);
  }
  context.stroke();
}

/**
 * @param {Context} context
 * @param {string} ink
 */
function outline(context, ink) {
  context.strokeStyle = ink;
  context.lineWidth = 0.8;
  context.stroke();
}

/** @typedef {(c: Context, x: number, y: number, r: number, ink: string, back: string) => void} Shape */

/** @satisfies {Record<string, Shape>} */
const SHAPES = {
  ring(context, x, y, r) {
    context.beginPath();
    context.arc(x, y, r - 0.5, 0, TURN);
    context.stroke();
  },
  disc(context, x, y, r) {
    context.beginPath();
    context.arc(x, y, r, 0, TURN);
    context.fill();
  },
  square(context, x, y, r) {
    context.fillRect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  },
  struck(context, x, y, r) {
    context.strokeRect(x - r, y - r, 2 * r, 2 * r);
    strokes(context, x, y, [-r - 2, r + 2, r + 2, -r - 2]);
  },
  slashed(context, x, y, r) {
    SHAPES.ring(context, x, y, r);
    strokes(context, x, y, [-r - 2, r + 2, r + 2, -r - 2]);
  },
  boxed(context, x, y, r) {
    context.strokeRect(x - r, y - r, 2 * r, 2 * r);
    strokes(context, x, y, [-r / 2, -r / 2, r / 2, r / 2], [-r / 2, r / 2, r / 2, -r / 2]);
  },
  triangle(context, x, y, r) {
    polygon(context, x, y, [-r * 0.8, -r], [r, 0], [-r * 0.8, r]);
    context.stroke();
  },
  doubled(context, x, y, r, ink) {
    for (const shift of [-r * 0.8, r * 0.5]) {
      polygon(context, x + shift, y, [-r * 0.5, -r], [r * 0.9, 0], [-r * 0.5, r]);
      context.fill();
      outline(context, ink);
    }
  },
  tick(context, x, y, r) {
    context.beginPath();
    context.moveTo(x - r, y);
    context.lineTo(x - r * 0.2, y + r * 0.8);
    context.lineTo(x + r, y - r * 0.9);
    context.stroke();
  },
  cross(context, x, y, r) {
    context.lineWidth = 2.4;
    strokes(context, x, y, [-r, -r, r, r], [-r, r, r, -r]);
  },
  back(context, x, y, r, ink) {
    polygon(context, x, y, [r * 0.8, -r], [-r, 0], [r * 0.8, r]);
    context.fill();
    outline(context, ink);
  },
  stop(context, x, y, r, _ink, back) {
    const side = r * 0.45;
    polygon(
      context,
      x,
      y,
      [-side, -r],
      [side, -r],
      [r, -side],
      [r, side],
      [side, r],
      [-side, r],
      [-r, side],
      [-r, -side],
    );
    context.fill();
    context.fillStyle = back;
    context.fillRect(x - r * 0.55, y - 1, r * 1.1, 2);
  },
  hourglass(context, x, y, r, ink) {
    polygon(context, x, y, [-r, -r], [r, -r], [-r, r], [r, r]);
    context.fill();
    outline(context, ink);
  },
  diamond(context, x, y, r, ink) {
    polygon(context, x, y, [0, -r - 1], [r + 1, 0], [0, r + 1], [-r - 1, 0]);
    context.fill();
    outline(context, ink);
    context.strokeStyle = ink;
    context.lineWidth = 1.4;
    strokes(context, x, y, [-r / 3, -r / 3, r / 3, r / 3], [-r / 3, r / 3, r / 3, -r / 3]);
  },
  plus(context, x, y, r) {
    polygon(context, x, y, [0, -r - 1], [r + 1, 0], [0, r + 1], [-r - 1, 0]);
    context.stroke();
    strokes(context, x, y, [-r / 2, 0, r / 2, 0], [0, -r / 2, 0, r / 2]);
  },
  twin(context, x, y, r, ink) {
    for (const shift of [-r * 0.75, r * 0.75]) {
      context.beginPath();
      context.arc(x + shift, y, r, 0, TURN);
      context.fill();
      outline(context, ink);
    }
  },
  unticked(context, x, y, r) {
    SHAPES.tick(context, x, y, r);
    context.lineWidth = 2;
    strokes(context, x, y, [-r - 1, -r, r + 1, r]);
  },
  bolt(context, x, y, r, _ink, back) {
    const [left, right, middle] = [-0.2 * r, 0.1 * r, 0.25 * r];
    polygon(
      context,
      x,
      y,
      [0.3 * r, -1.5 * r],
      [-r, middle],
      [left, middle],
      [2 * left, 1.5 * r],
      [r, -0.4 * r],
      [right, -0.4 * r],
    );
    context.fill();
    outline(context, back);
  },
  lost(context, x, y, r, _ink, back) {
    context.beginPath();
    context.arc(x, y, r + 1.5, 0, TURN);
    context.fill();
    context.strokeStyle = back;
    context.lineWidth = 2;
    strokes(context, x, y, [-r / 2, -r / 2, r / 2, r / 2], [-r / 2, r / 2, r / 2, -r / 2]);
  },
};

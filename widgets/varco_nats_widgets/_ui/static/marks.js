// How each thing that can happen to a message looks: a colour and a shape of its own.

const PI2 = 2 * Math.PI;

function polygon(context, x, y, points) {
  context.beginPath();
  points.forEach(([dx, dy], at) => context[at ? "lineTo" : "moveTo"](x + dx, y + dy));
  context.closePath();
}

function strokes(context, x, y, ...lines) {
  context.beginPath();
  for (const [fromX, fromY, toX, toY] of lines) {
    context.moveTo(x + fromX, y + fromY);
    context.lineTo(x + toX, y + toY);
  }
  context.stroke();
}

const SHAPES = {
  ring(context, x, y, r) {
    context.beginPath();
    context.arc(x, y, r - 0.5, 0, PI2);
    context.stroke();
  },
  disc(context, x, y, r) {
    context.beginPath();
    context.arc(x, y, r, 0, PI2);
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
    polygon(context, x, y, [[-r * 0.8, -r], [r, 0], [-r * 0.8, r]]);
    context.stroke();
  },
  doubled(context, x, y, r, ink) {
    for (const shift of [-r * 0.8, r * 0.5]) {
      polygon(context, x + shift, y, [[-r * 0.5, -r], [r * 0.9, 0], [-r * 0.5, r]]);
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
    polygon(context, x, y, [[r * 0.8, -r], [-r, 0], [r * 0.8, r]]);
    context.fill();
    outline(context, ink);
  },
  stop(context, x, y, r, ink, back) {
    const side = r * 0.45;
    polygon(context, x, y, [
      [-side, -r], [side, -r], [r, -side], [r, side], [side, r], [-side, r], [-r, side], [-r, -side],
    ]);
    context.fill();
    context.fillStyle = back;
    context.fillRect(x - r * 0.55, y - 1, r * 1.1, 2);
  },
  hourglass(context, x, y, r, ink) {
    polygon(context, x, y, [[-r, -r], [r, -r], [-r, r], [r, r]]);
    context.fill();
    outline(context, ink);
  },
  diamond(context, x, y, r, ink) {
    polygon(context, x, y, [[0, -r - 1], [r + 1, 0], [0, r + 1], [-r - 1, 0]]);
    context.fill();
    outline(context, ink);
    context.strokeStyle = ink;
    context.lineWidth = 1.4;
    strokes(context, x, y, [-r / 3, -r / 3, r / 3, r / 3], [-r / 3, r / 3, r / 3, -r / 3]);
  },
  plus(context, x, y, r, ink) {
    polygon(context, x, y, [[0, -r - 1], [r + 1, 0], [0, r + 1], [-r - 1, 0]]);
    context.stroke();
    strokes(context, x, y, [-r / 2, 0, r / 2, 0], [0, -r / 2, 0, r / 2]);
  },
  twin(context, x, y, r, ink) {
    for (const shift of [-r * 0.75, r * 0.75]) {
      context.beginPath();
      context.arc(x + shift, y, r, 0, PI2);
      context.fill();
      outline(context, ink);
    }
  },
  unticked(context, x, y, r) {
    SHAPES.tick(context, x, y, r);
    context.lineWidth = 2;
    strokes(context, x, y, [-r - 1, -r, r + 1, r]);
  },
  bolt(context, x, y, r, ink, back) {
    const points = [[0.3, -1.5], [-1, 0.25], [-0.2, 0.25], [-0.4, 1.5], [1, -0.4], [0.1, -0.4]];
    polygon(context, x, y, points.map(([dx, dy]) => [dx * r, dy * r]));
    context.fill();
    outline(context, back);
  },
  lost(context, x, y, r, ink, back) {
    context.beginPath();
    context.arc(x, y, r + 1.5, 0, PI2);
    context.fill();
    context.strokeStyle = back;
    context.lineWidth = 2;
    strokes(context, x, y, [-r / 2, -r / 2, r / 2, r / 2], [-r / 2, r / 2, r / 2, -r / 2]);
  },
};

function outline(context, ink) {
  context.strokeStyle = ink;
  context.lineWidth = 0.8;
  context.stroke();
}

// [words, colour, shape, whether it stands out]
const LOOKS = {
  published: ["published", "blue", "ring", false],
  stored: ["stored", "blue", "square", false],
  unacknowledged: ["no PubAck", "red", "boxed", true],
  deduplicated: ["dropped as a duplicate", "ink", "struck", true],
  skipped: ["skipped by the deduplicator", "ink", "slashed", true],
  delivered: ["delivered", "green", "triangle", false],
  redelivered: ["delivered again", "orange", "doubled", true],
  handled: ["handled", "green", "disc", false],
  handled_again: ["handled again", "red", "twin", true],
  failed: ["failed", "red", "cross", true],
  acked: ["acknowledged", "green", "tick", false],
  ack_lost: ["ack lost", "red", "unticked", true],
  naked: ["handed back (nak)", "orange", "back", true],
  terminated: ["given up (term)", "red", "stop", true],
  expired: ["ack_wait over", "orange", "hourglass", true],
  dead_lettered: ["dead letter", "purple", "diamond", true],
  replayed: ["replayed", "purple", "plus", true],
  lost: ["lost", "red", "lost", true],
  fault: ["fault", "ink", "bolt", true],
};

const lookOf = (name) => LOOKS[name] ?? [name, "ink", "ring", false];

function drawMark(context, name, x, y, r, { colors, back }) {
  const [, color, shape] = lookOf(name);
  context.setLineDash([]);
  context.lineJoin = "round";
  context.lineWidth = 1.6;
  context.strokeStyle = context.fillStyle = colors[color];
  SHAPES[shape](context, x, y, r, colors.ink, back);
}

// What a timeline says in words.

import { lookOf } from "../common/looks.js";
import { grouped } from "../common/numbers.js";
import { duration, utc } from "../common/times.js";

/** @typedef {import("./marks.js").Marks} Marks */
/** @typedef {import("./scale.js").Lane} Lane */

const MAX_STEPS = 14; // of a message's way

/**
 * What a fault was.
 *
 * @param {Marks} marks
 * @param {string[]} faults the newest in words
 * @param {number} mark
 */
export function faultWords({ faults: all }, faults, mark) {
  return faults[faults.length - all.length + all.indexOf(mark)] ?? "";
}

/**
 * What stands beside a mark.
 *
 * @param {Marks} marks
 * @param {Lane[]} lanes
 * @param {string[]} faults
 * @param {number} mark
 * @param {string} [known] what the kernel knows of it
 */
export function tipWords(marks, lanes, faults, mark, known) {
  const { time, event, delivery, looks } = marks;
  const lane = lanes.find(([number]) => number === marks.lane[mark]);
  const lines = [
    `${lookOf(looks[mark]).words} · ${lane?.[1] ?? ""}`,
    event[mark] ? `event ${event[mark]}` : faultWords(marks, faults, mark),
    `${duration(time[mark] - time[0])} after the first · ${utc(time[mark])}`,
  ];
  if (delivery[mark]) lines.push(`delivery ${delivery[mark]}`);
  if (known) lines.push(known);
  return lines.join("\n");
}

/**
 * The way of a message, of the first `shown` marks.
 *
 * @param {Marks} marks
 * @param {Lane[]} lanes
 * @param {number} event 0 for none
 * @param {number} shown
 */
export function wayWords({ byEvent, lane, looks, time }, lanes, event, shown) {
  const indexes = byEvent.get(event);
  if (!indexes) return event ? `event ${event}` : "";
  const names = new Map(lanes);
  const [start] = indexes;
  const steps = indexes
    .filter((mark) => mark < shown)
    .map((mark) => {
      const after = mark === start ? "" : ` +${duration(time[mark] - time[start])}`;
      return `${lookOf(looks[mark]).words} (${names.get(lane[mark])}${after})`;
    });
  if (steps.length > MAX_STEPS) {
    steps.splice(MAX_STEPS - 1, steps.length - MAX_STEPS, `${steps.length - MAX_STEPS} more`);
  }
  return `event ${event}: ${steps.join(" → ")}`;
}

/**
 * What of a timeline is in sight.
 *
 * @param {Marks} marks
 * @param {import("./sight.js").Sight} sight
 */
function rangeWords({ length, time }, { byTime, range: [low, high] }) {
  if (byTime) return `from ${duration(low - time[0])} to ${duration(high - time[0])}`;
  return `steps ${Math.max(1, Math.ceil(low) + 1)} to ${Math.min(length, Math.floor(high) + 1)}`;
}

/**
 * @param {number} count
 * @param {string} noun
 */
const plural = (count, noun) => (count === 1 ? noun : `${noun}s`);

/**
 * What is drawn, for those who do not see it.
 *
 * @param {object} drawn
 * @param {string} drawn.title
 * @param {Lane[]} drawn.lanes
 * @param {Marks} drawn.marks
 * @param {number} drawn.shown
 * @param {import("./sight.js").Sight} drawn.sight
 * @param {import("./sight.js").Band[]} drawn.bands
 * @param {string[]} drawn.faults
 * @param {string} drawn.note
 */
export function pictureWords({ title, lanes, marks, shown, sight, bands, faults, note }) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const look of marks.looks.slice(0, shown)) counts.set(look, (counts.get(look) ?? 0) + 1);
  const kinds = [...counts].map(([look, count]) => `${lookOf(look).words} ${grouped(count)}`);
  const parts = [
    title || "Timeline",
    `lanes ${lanes.map(([, name]) => name).join(", ")}`,
    kinds.length ? `${grouped(shown)} ${plural(shown, "mark")}: ${kinds.join(", ")}` : "no marks",
    marks.length ? rangeWords(marks, sight) : "",
    bands.length ? `${bands.length} ${plural(bands.length, "window")}` : "",
    ...faults,
    note,
  ];
  return parts.filter(Boolean).join("; ");
}

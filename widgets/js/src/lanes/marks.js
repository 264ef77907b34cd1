// The marks of what the kernel has sent, in their order, with the links between them.

import { isLoud } from "../common/looks.js";
import { countWhile, numbersOf } from "../common/numbers.js";

/** @typedef {import("../common/numbers.js").Bytes} Bytes */

/**
 * Marks as bytes, each array for itself.
 *
 * @typedef {Partial<Record<"time" | "n" | "event" | "delivery" | "lane" | "kind", Bytes>>} Batch
 */

/** @typedef {"calm" | "again" | "dropped" | "dead" | "lost"} Way how a message came to a mark */
/** @typedef {[from: number, to: number, way: Way]} Link between the indexes of two marks */

/** @type {Record<string, Way>} */
const WAYS = {
  unacknowledged: "lost",
  deduplicated: "dropped",
  redelivered: "again",
  expired: "again",
  dead_lettered: "dead",
  replayed: "dead",
  lost: "lost",
};

export class Marks {
  /** @type {Map<number, number[]>} */
  byEvent = new Map(); // the marks of each event
  /** @type {number[]} */
  faults = []; // they are of no event

  /**
   * @param {string[]} looks by their number
   * @param {Batch[]} batches
   */
  constructor(looks, ...batches) {
    this.time = joined(Float64Array, batches, "time");
    this.n = joined(Uint32Array, batches, "n");
    this.event = joined(Uint32Array, batches, "event");
    this.delivery = joined(Uint16Array, batches, "delivery");
    this.lane = joined(Uint8Array, batches, "lane");
    this.looks = Array.from(joined(Uint8Array, batches, "kind"), (look) => looks[look]);
    this.isLoud = this.looks.map(isLoud);
    this.event.forEach((event, index) => {
      const others = this.byEvent.get(event);
      if (!event) this.faults.push(index);
      else if (others) others.push(index);
      else this.byEvent.set(event, [index]);
    });
    this.events = [...this.byEvent.keys()].sort((a, b) => a - b);
    this.links = [...this.byEvent.values()].flatMap((indexes) => this.#linksOf(indexes));
  }

  get length() {
    return this.n.length;
  }

  /**
   * How many marks come before a row of the record.
   *
   * @param {number} n
   */
  before(n) {
    return countWhile(this.n, (value) => value < n);
  }

  /**
   * From where a message came to each of its marks.
   *
   * @param {number[]} indexes
   */
  #linksOf(indexes) {
    /** @type {Link[]} */
    const links = [];
    /** @type {number[]} */
    const published = []; // copies under way to the stream
    /** @type {Map<number, number>} */
    const newest = new Map(); // by lane of a consumer
    /** @type {(number | null)[]} */
    let [stored, last, dead] = [null, null, null];
    for (const to of indexes) {
      const [look, lane] = [this.looks[to], this.lane[to]];
      /** @type {number | null} */
      let from = null;
      switch (look) {
        case "published":
          published.push(to);
          break;
        case "stored":
          from = published.shift() ?? null;
          stored = to;
          break;
        case "unacknowledged":
        case "deduplicated":
          from = published.shift() ?? null;
          break;
        case "delivered":
          from = stored ?? published[0] ?? null;
          last = to;
          newest.set(lane, to);
          break;
        case "redelivered":
          from = last ?? stored;
          last = to;
          newest.set(lane, to);
          break;
        case "expired":
          from = last ?? stored;
          last = to;
          break;
        case "dead_lettered":
          from = last ?? stored;
          dead = to;
          break;
        case "replayed":
          from = dead;
          stored = to;
          break;
        case "lost":
          from = last ?? stored ?? published.at(-1) ?? null;
          break;
        default:
          from = newest.get(lane) ?? last ?? stored;
          last = to;
          newest.set(lane, to);
      }
      if (from !== null) links.push([from, to, WAYS[look] ?? "calm"]);
    }
    return links;
  }
}

/**
 * @template {Float64Array | Uint32Array | Uint16Array | Uint8Array} T
 * @param {{new (buffer: ArrayBuffer): T, new (length: number): T}} Type
 * @param {Batch[]} batches
 * @param {keyof Batch} name
 * @returns {T}
 */
function joined(Type, batches, name) {
  const parts = batches.map((batch) => numbersOf(Type, batch[name]));
  const whole = new Type(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) {
    whole.set(part, end);
    end += part.length;
  }
  return whole;
}

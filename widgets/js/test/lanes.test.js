import assert from "node:assert/strict";
import { test } from "node:test";
import { Marks } from "../src/lanes/marks.js";
import { Scale } from "../src/lanes/scale.js";
import { Sight } from "../src/lanes/sight.js";
import { faultWords, pictureWords, tipWords, wayWords } from "../src/lanes/words.js";

/** @type {import("../src/lanes/scale.js").Lane[]} */
const LANES = [
  [0, "producer"],
  [1, "stream"],
  [2, "consumer"],
];

/** @typedef {[look: string, event: number, lane: number, delivery?: number]} Made */

/**
 * Marks a second apart, in two batches.
 *
 * @param {Made[]} made
 */
function marksOf(...made) {
  const looks = [...new Set(made.map(([look]) => look))];
  /** @param {Made[]} some */
  const batch = (some, first = 0) => ({
    time: Float64Array.from(some, (_, index) => 1000 + first + index).buffer,
    n: Uint32Array.from(some, (_, index) => 10 * (first + index)).buffer,
    event: Uint32Array.from(some, ([, event]) => event).buffer,
    lane: Uint8Array.from(some, ([, , lane]) => lane).buffer,
    kind: Uint8Array.from(some, ([look]) => looks.indexOf(look)).buffer,
    delivery: Uint16Array.from(some, ([, , , delivery = 0]) => delivery).buffer,
  });
  return new Marks(looks, batch(made.slice(0, 2)), batch(made.slice(2), 2));
}

const WAY = marksOf(
  ["published", 1, 0],
  ["stored", 1, 1],
  ["delivered", 1, 2, 1],
  ["fault", 0, 2],
  ["redelivered", 1, 2, 2],
  ["handled", 1, 2, 2],
);

test("each mark is linked to where its message came from", () => {
  assert.deepEqual(WAY.links, [
    [0, 1, "calm"],
    [1, 2, "calm"],
    [2, 4, "again"],
    [4, 5, "calm"],
  ]);
  const copies = marksOf(
    ["published", 1, 0],
    ["published", 1, 0],
    ["stored", 1, 1],
    ["deduplicated", 1, 1],
    ["lost", 1, 1],
  );
  assert.deepEqual(copies.links, [
    [0, 2, "calm"],
    [1, 3, "dropped"],
    [2, 4, "lost"],
  ]);
});

test("faults are of no event, and rows of the record are found", () => {
  assert.deepEqual([WAY.faults, WAY.events], [[3], [1]]);
  assert.deepEqual(
    [0, 1, 10, 99].map((n) => WAY.before(n)),
    [0, 1, 1, 6],
  );
  assert.equal(faultWords(WAY, ["older", "killed"], 3), "killed");
});

test("a message's way is told in words, as far as it is shown", () => {
  assert.equal(wayWords(WAY, LANES, 1, 2), "event 1: published (producer) → stored (stream +1 s)");
  assert.equal(wayWords(WAY, LANES, 9, 2), "event 9");
  const long = marksOf(...Array.from({ length: 20 }, () => /** @type {Made} */ (["failed", 1, 2])));
  const steps = wayWords(long, LANES, 1, 20).split(" → ");
  assert.deepEqual([steps.length, steps.at(-2)], [15, "6 more"]);
});

test("a tip says what the kernel knows", () => {
  assert.equal(
    tipWords(WAY, LANES, ["killed"], 4, "id: 7"),
    "delivered again · consumer\nevent 1\n4 s after the first · 1970-01-01 00:16:44.000 UTC\n" +
      "delivery 2\nid: 7",
  );
});

test("a picture is told in words", () => {
  const sight = new Sight();
  sight.byTime = false;
  sight.measure(WAY.time, []);
  const drawn = { title: "", lanes: LANES, marks: WAY, sight, bands: [], note: "" };
  assert.equal(
    pictureWords({ ...drawn, shown: 2, faults: ["killed"] }),
    "Timeline; lanes producer, stream, consumer; 2 marks: published 1, stored 1; steps 1 to 6; killed",
  );
});

test("what is in sight stays within what there is", () => {
  const sight = new Sight();
  sight.measure(Float64Array.of(0, 100), [[1, 90, 200]]);
  assert.deepEqual(sight.range, [-3, 203]);
  sight.zoom(0.5);
  assert.deepEqual(sight.range, [48.5, 151.5]);
  sight.pan(-1);
  assert.deepEqual(sight.range, [-3, 100]);
  sight.zoom(0.5, 100);
  assert.deepEqual(sight.range, [48.5, 100]);
  sight.zoom(9);
  assert.equal(sight.chosen, null);
  sight.isLive = true;
  assert.deepEqual(sight.range, [193, 203]);
});

test("the mark that the pointer means is the nearest that is shown", () => {
  const scale = new Scale({
    marks: WAY,
    lanes: LANES,
    laneHeight: 40,
    byTime: true,
    isSpread: true,
    range: [1000, 1005],
    width: 600,
    labelWidth: 76,
  });
  assert.equal(scale.nearest(scale.xOf(4) + 3, scale.yOf(4), 6, 0), 4);
  assert.equal(scale.nearest(scale.xOf(4) + 3, scale.yOf(4), 4, 0), null);
  assert.equal(scale.countInSight(), 6);
  assert.equal(scale.place(scale.x(1003)), 1003);
});

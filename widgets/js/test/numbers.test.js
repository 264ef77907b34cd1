import assert from "node:assert/strict";
import { test } from "node:test";
import { countWhile, nearestIndex, numbersOf, ticksOf } from "../src/common/numbers.js";

test("bytes that begin anywhere become numbers", () => {
  const bytes = new Uint8Array(17);
  bytes.set(new Uint8Array(new Float64Array([1.5, -2]).buffer), 1);
  assert.deepEqual([...numbersOf(Float64Array, new DataView(bytes.buffer, 1))], [1.5, -2]);
  assert.deepEqual([...numbersOf(Uint8Array)], []);
});

test("the end of what fulfils a condition is found", () => {
  const values = [1, 2, 2, 5];
  assert.equal(
    countWhile(values, (value) => value < 2),
    1,
  );
  assert.equal(
    countWhile(values, (value) => value < 9),
    4,
  );
  assert.equal(
    countWhile([], () => true),
    0,
  );
});

test("the nearest of ascending values is found, the earlier one of two", () => {
  assert.deepEqual(
    [-1, 2, 5, 6, 99].map((wanted) => nearestIndex([0, 4, 8], wanted)),
    [0, 0, 1, 1, 2],
  );
});

test("ticks are round", () => {
  assert.deepEqual(ticksOf(0, 10, 5), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(ticksOf(3, 99, 4), [50]);
  assert.deepEqual(ticksOf(7, 7, 4), [7]);
});

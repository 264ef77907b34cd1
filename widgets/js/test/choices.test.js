import assert from "node:assert/strict";
import { test } from "node:test";
import { found, inOrder, inWords, toggled } from "../src/choices/values.js";

/** @type {import("../src/choices/values.js").Choice[]} */
const HANDLERS = [
  ["shop.Orders.on_placed", 52],
  ["shop.Ledger.on_payment", 20],
  ["shop.Orders.on_refund", null],
];
/** @param {import("../src/choices/values.js").Choice[]} choices */
const valuesOf = (choices) => choices.map(([value]) => value);

test("values stay where they were while a list is open, and new ones come after them", () => {
  assert.deepEqual(valuesOf(inOrder(HANDLERS, [])), valuesOf(HANDLERS));
  const before = ["shop.Orders.on_refund", "shop.Orders.on_placed", "gone"];
  assert.deepEqual(valuesOf(inOrder(HANDLERS, before)), [
    "shop.Orders.on_refund",
    "shop.Orders.on_placed",
    "shop.Ledger.on_payment",
  ]);
});

test("a value is found by parts of its name in any order and case", () => {
  assert.deepEqual(valuesOf(found(HANDLERS, "refund ORDERS ")), ["shop.Orders.on_refund"]);
  assert.equal(found(HANDLERS, "").length, 3);
  assert.equal(found(HANDLERS, "invoice").length, 0);
});

test("a tick is set and taken away", () => {
  assert.deepEqual(toggled(["a"], "b"), ["a", "b"]);
  assert.deepEqual(toggled(["a", "b"], "a"), ["b"]);
});

test("what is chosen is said in words", () => {
  assert.equal(inWords([], 3), "all");
  assert.equal(inWords(["north"], 3), "north");
  assert.equal(inWords(["north", "south"], 3), "2 of 3");
  assert.equal(inWords(["north", "south"], 0), "2 of 2"); // set from Python before it was read
});

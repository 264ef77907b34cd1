import assert from "node:assert/strict";
import { test } from "node:test";
import { Columns } from "../src/table/columns.js";
import { commandOf } from "../src/table/keys.js";
import { Rows } from "../src/table/rows.js";
import { Viewport } from "../src/table/viewport.js";

const KEY = { shiftKey: false, ctrlKey: false, metaKey: false, altKey: false };

/** @param {Partial<import("../src/table/rows.js").Extent>} [extent] */
function rowsOf(extent) {
  const rows = new Rows();
  rows.extent = { base: 100, total: 1000, sorted: false, generation: 1, ...extent };
  return rows;
}

/**
 * @param {Rows} rows
 * @param {number} start
 * @param {number} count
 */
function remember(rows, start, count) {
  const ids = Array.from({ length: count }, (_, index) => start + index);
  rows.remember({ start, ids, rows: ids.map((id) => [`${id}`, "text"]), span: rows.span });
}

test("a position is a row from the top, however the rows are ordered", () => {
  const rows = rowsOf();
  assert.deepEqual([rows.keyAt(0), rows.positionOf(1099)], [100, 999]);
  rows.isNewestFirst = true;
  assert.deepEqual([rows.keyAt(0), rows.positionOf(1099)], [1099, 0]);
  rows.extent.sorted = true;
  assert.deepEqual([rows.keyAt(0), rows.positionOf(5000), rows.positionOf(null)], [100, 999, 0]);
});

test("only what is missing is asked for, with a margin", () => {
  const rows = rowsOf();
  assert.deepEqual(rows.missing(0, 20, 0, 2, 2), { start: 100, count: 80, span: [0, 60] });
  remember(rows, 100, 80);
  assert.equal(rows.missing(0, 20, 0, 2, 2), null);
  assert.deepEqual(rows.missing(70, 20, 0, 2, 2), { start: 120, count: 130, span: [0, 60] });
  rows.isStale = true;
  assert.deepEqual(rows.missing(0, 20, 0, 2, 2), { start: 100, count: 80, span: [0, 60] });
});

test("of many columns those around the ones in sight are asked for", () => {
  const rows = rowsOf();
  remember(rows, 100, 80);
  assert.deepEqual(rows.missing(0, 20, 90, 100, 500)?.span, [70, 130]);
  assert.equal(rows.get(100), undefined); // its cells were of other columns
});

test("the oldest rows are forgotten, and ids are given where all are known", () => {
  const rows = rowsOf({ total: 10_000 });
  remember(rows, 100, 2000);
  remember(rows, 5000, 2000);
  assert.equal(rows.get(1099), undefined);
  assert.deepEqual(rows.ids(5000, 5002), [5000, 5001, 5002]);
  assert.equal(rows.ids(2099, 2100), null);
});

test("columns are as wide as their first rows, and those in sight are found", () => {
  const rows = rowsOf();
  const columns = new Columns();
  columns.set([
    ["n", true],
    ["name", false],
    ["more", false],
  ]);
  assert.deepEqual(columns.offsets, [0, 60, 132, 204]);
  assert.equal(
    columns.fit(rows, () => () => 200),
    false,
  );
  remember(rows, 100, 1);
  assert.ok(columns.fit(rows, () => (text) => text.length * 100));
  assert.deepEqual(columns.offsets, [0, 326, 666, 738]);
  columns.resize(1, 5);
  assert.deepEqual(columns.offsets, [0, 326, 366, 438]);
  assert.deepEqual(columns.inSight(0, 370), [1, 3]);
  assert.deepEqual(columns.inSight(41, 340), [2, 3]);
  assert.equal(columns.scrollTo(2, 0, 400), 38);
  assert.equal(columns.scrollTo(1, 38, 400), 0);
});

test("a scroll bar reaches every row, also of more than a browser can lay out", () => {
  for (const total of [10, 1000, 3_000_000]) {
    const viewport = new Viewport();
    Object.assign(viewport, { total, height: 240 });
    viewport.scrollTo(viewport.space - viewport.height);
    assert.equal(viewport.top, viewport.lastTop);
    viewport.show(0);
    assert.equal(viewport.scroll, 0);
    viewport.show(total - 1);
    assert.equal(viewport.inSight().first + viewport.inSight().count, total);
  }
});

test("a key does in the head what it does in the head", () => {
  /** @param {Partial<import("../src/table/keys.js").Key>} key */
  const commands = (key) =>
    [true, false].map((inHead) => commandOf({ ...KEY, key: "", ...key }, inHead));
  assert.deepEqual(commands({ key: "Enter" }), ["sort", "open"]);
  assert.deepEqual(commands({ key: "ArrowRight", shiftKey: true }), ["wider", "right"]);
  assert.deepEqual(commands({ key: "A", ctrlKey: true }), ["selectAll", "selectAll"]);
  assert.deepEqual(commands({ key: "x", metaKey: true }), [undefined, undefined]);
  assert.deepEqual(commands({ key: "Home", altKey: true }), [undefined, undefined]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { hide, move, pin, unhide, widen } from "../src/table/arrange.js";
import { hasText, textOf } from "../src/table/cells.js";
import { Columns } from "../src/table/columns.js";
import { commandOf } from "../src/table/keys.js";
import { Rows } from "../src/table/rows.js";
import { Viewport } from "../src/table/viewport.js";
import { wordsOf } from "../src/table/words.js";

const KEY = { shiftKey: false, ctrlKey: false, metaKey: false, altKey: false };

/** @param {Partial<import("../src/table/rows.js").Extent>} [extent] */
function rowsOf(extent) {
  const rows = new Rows();
  rows.extent = { base: 100, total: 1000, sorted: false, generation: 1, keys: 1, ...extent };
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

test("a row that is drawn is found by its id where newer rows have come", () => {
  const rows = rowsOf();
  remember(rows, 100, 3);
  const drawn = { key: 101, id: 101 };
  assert.equal(rows.keyOf(drawn), 101);
  assert.equal(rows.keyOf({ key: 105, id: undefined }), 105); // not known when it was drawn
  rows.forget();
  remember(rows, 99, 3); // the same ids as keys ...
  rows.remember({ start: 101, ids: [100], rows: [["100", "text"]], span: rows.span });
  assert.equal(rows.keyOf({ key: 101, id: 99 }), 99);
  assert.equal(rows.keyOf(drawn), null); // ... of which that one is gone
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
  columns.set(
    [
      ["n", true],
      ["name", false],
      ["more", false],
    ],
    0,
    {},
  );
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
  assert.deepEqual(commands({ key: "ArrowLeft", ctrlKey: true }), ["moveLeft", "left"]);
  assert.deepEqual(commands({ key: "F10", shiftKey: true }), ["menu", "menu"]);
  assert.deepEqual(commands({ key: "f", ctrlKey: true }), ["find", "find"]);
});

test("pinned columns stay in sight, as long as there is room beside them", () => {
  const columns = new Columns();
  /** @type {import("../src/table/columns.js").Column[]} */
  const list = ["seq", "a", "b", "c", "d"].map((name) => [name, false]);
  columns.set(list, 2, {});
  assert.deepEqual([columns.fixed(1000), columns.fixed(250), columns.fixed(50)], [3, 2, 1]);
  assert.deepEqual(columns.inSight(70, 320), [4, 5]);
  assert.equal(columns.scrollTo(2, 70, 320), 70);
  assert.equal(columns.scrollTo(3, 70, 320), 0);
  columns.setFont(26);
  assert.equal(columns.width, 608);
  const rows = rowsOf();
  rows.pinned = 2;
  rows.span = [20, 80];
  assert.deepEqual(
    [0, 2, 3, 23, 24].map((column) => rows.place(column)),
    [0, 2, -1, 3, 4],
  );
});

test("a user's choices of columns", () => {
  const names = ["a", "b", "c", "d"];
  const pinned = pin(pin({}, "c", true), "a", true);
  assert.deepEqual(pinned, { pinned: ["c", "a"] });
  assert.deepEqual(pin(pinned, "c", false), { pinned: ["a"] });
  assert.deepEqual(hide(pinned, "c"), { pinned: ["a"], hidden: ["c"] });
  assert.deepEqual(unhide({ hidden: ["c", "d"] }, "c"), { hidden: ["d"] });
  assert.deepEqual(move({ order: ["z", "a"] }, names, 0, 3, 0).order, ["d", "a", "b", "c", "z"]);
  assert.deepEqual(move(pinned, ["c", "a", "b"], 2, 1, 0), { pinned: ["a", "c"] });
  assert.deepEqual(move({}, ["c", "a", "b"], 2, 2, 0), { order: ["c", "a", "b"] });
  assert.deepEqual(widen({ widths: { a: 50 } }, "b", 60).widths, { a: 50, b: 60 });
});

test("a time is short, and what is no image is not shown as one", () => {
  const time = "2026-05-04T10:00:05.250Z";
  assert.equal(textOf(time, "2026-05-04"), "10:00:05.250");
  assert.equal(textOf(time, ""), "2026-05-04 10:00:05");
  assert.equal(textOf(time, undefined), time);
  assert.equal(textOf("today", "2026-05-04"), "today");
  assert.equal(textOf(["PNG image", "data:"], undefined), "PNG image");
  assert.ok(hasText(time, "2026-05-04 10", true));
  assert.ok(!hasText(time, "2026-05-04 10", false));
});

test("a table says what it does not show as it came", () => {
  const said = {
    total: 200,
    selected: 0,
    sortBy: "total",
    isDescending: true,
    isPage: true,
    days: { stored_at: "2026-05-04", timestamp: "2026-05-04", other: "" },
    note: "",
  };
  assert.equal(
    wordsOf(said),
    "200 rows · this page sorted by total, from the highest · times of 2026-05-04, UTC",
  );
  const days = { stored_at: "2026-05-04", timestamp: "2026-05-03" };
  assert.equal(
    wordsOf({ ...said, total: 1, sortBy: "", selected: 1, days }),
    "1 row · 1 selected · stored_at of 2026-05-04, UTC · timestamp of 2026-05-03, UTC",
  );
});

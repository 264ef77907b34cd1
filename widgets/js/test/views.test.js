import assert from "node:assert/strict";
import { test } from "node:test";
import { scaleOf, valueLabel } from "../src/chart/scale.js";
import { isLight, lineColors } from "../src/common/colors.js";
import { hexOf } from "../src/message/bytes.js";

test("a chart has room for its labels, and nothing to show where there are no numbers", () => {
  const series = { name: "a", times: Float64Array.of(10, 20), values: Float64Array.of(0, 7) };
  const scale = scaleOf([series], 400, 120, () => 50);
  assert.deepEqual(scale?.ticks, [0, 2, 4, 6]);
  assert.deepEqual([scale?.x(10), scale?.x(20), scale?.y(0), scale?.y(7)], [58, 392, 102, 6]);
  assert.equal(scale?.time(scale.x(15)), 15);
  const gap = { ...series, values: Float64Array.of(Number.NaN, Number.NaN) };
  assert.equal(
    scaleOf([gap], 400, 120, () => 50),
    null,
  );
});

test("values are as precise as they have room", () => {
  assert.deepEqual(
    [1.234, 123.4, 1_500_000, Number.NaN].map((value) => valueLabel(value)),
    ["1.23", "123", "2M", "–"],
  );
  const near = [1013.25, 1013.5, 1_795_000_123, 0.1234];
  assert.deepEqual(
    near.map((value) => valueLabel(value, 0.05)),
    ["1,013.25", "1,013.5", "1,795,000,123", "0.12"],
  );
  assert.deepEqual([valueLabel(0.00001234), valueLabel(-0)], ["0.0000123", "0"]);
});

test("a chart that need not show 0 is filled by its values", () => {
  const times = Float64Array.of(1, 2, 3);
  const scale = scaleOf(
    [{ name: "a", times, values: Float64Array.of(1013, 1014, Number.NaN) }],
    400,
    120,
    () => 50,
    false,
  );
  assert.deepEqual(
    scale?.ticks.map((tick) => valueLabel(tick, scale.step)),
    ["1,013", "1,013.5", "1,014"],
  );
  assert.ok(scale && scale.y(1013) < scale.bottom && scale.y(1013) > scale.bottom - 10);
  const constant = [{ name: "a", times, values: Float64Array.of(7, 7, 7) }];
  assert.equal(scaleOf(constant, 400, 120, () => 50, false)?.y(7), 54);
  const nothing = [{ name: "a", times, values: Float64Array.of(Number.NaN) }];
  assert.equal(
    scaleOf(nothing, 400, 120, () => 50, false),
    null,
  );
});

test("lines have colours that are told apart on a light and on a dark page", () => {
  assert.ok(isLight("rgb(255, 255, 255)"));
  assert.ok(!isLight("rgb(33, 33, 33)"));
  for (const isDark of [false, true]) assert.equal(new Set(lineColors(isDark)).size, 6);
});

test("bytes are shown in hex, sixteen to a line", () => {
  const [first, second, ...others] = hexOf(new TextEncoder().encode('{"id": "7", "€": 1}')).split(
    "\n",
  );
  assert.equal(
    first,
    '00000000  7b 22 69 64 22 3a 20 22  37 22 2c 20 22 e2 82 ac  {"id": "7", "...',
  );
  assert.ok(second.startsWith("00000010  22 3a 20 31 7d"));
  assert.deepEqual(others, []);
});

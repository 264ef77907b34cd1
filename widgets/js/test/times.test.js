import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { duration, moment, timeLabel, timeTicks, utc, zone } from "../src/common/times.js";

const { TZ } = process.env;
const AT = 1_780_000_000.25;

afterEach(() => {
  process.env.TZ = TZ ?? "UTC";
});

test("durations have the unit of their size", () => {
  const seconds = [0, 0.000_02, 0.0123, 1.5, 119, 600, 7200, -0.03];
  assert.deepEqual(seconds.map(duration), [
    "0 s",
    "20 µs",
    "12.3 ms",
    "1.5 s",
    "119 s",
    "10 min",
    "2 h",
    "-30 ms",
  ]);
});

test("a moment is told in local time and in UTC", () => {
  assert.equal(utc(AT), "2026-05-28 20:26:40.250 UTC");
  process.env.TZ = "UTC";
  assert.equal(moment(AT), "2026-05-28 20:26:40 UTC");
  process.env.TZ = "Asia/Kolkata";
  assert.equal(zone(AT), "UTC+5:30");
  assert.equal(moment(AT), "2026-05-29 01:56:40 UTC+5:30\n2026-05-28 20:26:40 UTC");
});

test("a label is as precise as its ticks need", () => {
  process.env.TZ = "UTC";
  assert.deepEqual(
    [86400, 3600, 1, 0.1, 0.001].map((step) => timeLabel(AT, step)),
    ["2026-05-28", "20:26", "20:26:40", "20:26:40.2", "20:26:40.250"],
  );
});

test("ticks fall on round local times, and the ends stand in for them", () => {
  process.env.TZ = "Asia/Kolkata";
  const day = timeTicks(AT, AT + 86_400, 400, () => 60);
  assert.equal(day.step, 21_600);
  assert.deepEqual(
    day.ticks.map((tick) => timeLabel(tick, day.step)),
    ["06:00", "12:00", "18:00", "00:00"],
  );
  assert.deepEqual(
    timeTicks(AT, AT + 2, 40, () => 60),
    { ticks: [AT, AT + 2], step: 1 },
  );
});

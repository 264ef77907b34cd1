import assert from "node:assert/strict";
import { test } from "node:test";
import { isPattern, matcherOf, searchOf, starsOf } from "../src/channels/subjects.js";
import { patternsAt, Tree } from "../src/channels/tree.js";

const SITES = ["rome", "oslo", "lima"];
/** @param {number} devices */
const devicesOf = (devices) =>
  Array.from({ length: devices }, (_, device) =>
    ["gps", "temp"].map((kind) => `dev.${SITES[device % 3]}.${device}.${kind}`),
  ).flat();

/** @param {Tree} tree */
const labelsOf = (tree, unfolded = new Set()) =>
  tree.rows((node) => unfolded.has(node.path)).map(({ level, label }) => `${level} ${label}`);

/**
 * @param {Tree} tree
 * @param {string} path
 */
function nodeAt(tree, path) {
  const node = tree.nodes.find((other) => other.path === path);
  assert.ok(node);
  return node;
}

test("a pattern is read as the server reads it", () => {
  const cases = /** @type {[string, string, boolean][]} */ ([
    ["dev.*.temp", "dev.rome.temp", true],
    ["dev.*.temp", "dev.rome.1.temp", false],
    ["dev.*.temp", "dev.rome.gps", false],
    ["dev.>", "dev.rome.1.temp", true],
    ["dev.>", "dev", false],
    [">", "dev", true],
    ["*", "dev.rome", false],
    ["*.rome.>", "dev.rome.1", true],
    ["*.rome.>", "dev.oslo.1", false],
  ]);
  for (const [pattern, name, wanted] of cases) {
    assert.equal(matcherOf([pattern])(name), wanted, `${pattern} ${name}`);
    assert.ok(isPattern(pattern));
  }
  for (const text of ["dev", "dev*", "dev.*x", "dev..>", "dev.>.temp", ".*", ""]) {
    assert.ok(!isPattern(text), text);
  }
  assert.ok(searchOf("ROME.1")("dev.rome.12.temp"));
  assert.ok(!searchOf("dev.*")("dev.rome.12.temp"));
});

test("few names are a plain list, also where they have parts", () => {
  const tree = new Tree(["orders.eu", "orders.us", "payments"]);
  assert.deepEqual(labelsOf(tree), ["1 orders.eu", "1 orders.us", "1 payments"]);
  const flat = new Tree(Array.from({ length: 100 }, (_, number) => `channel-${number}`));
  assert.ok(!flat.isDeep);
  assert.equal(labelsOf(flat).length, 100);
});

test("many names are a tree with sums, in the order of their numbers", () => {
  const tree = new Tree([...devicesOf(12), "dev.rome"]);
  tree.setNumbers(
    tree.names.map(() => 2),
    tree.names.map((_, place) => (place ? null : 0.5)),
  );
  assert.deepEqual(labelsOf(tree), ["1 dev"]);
  assert.deepEqual(labelsOf(tree, tree.unfoldedAtFirst()), [
    "1 dev",
    ...["2 lima", "3 2", "3 5", "3 8", "3 11", "2 oslo", "3 1", "3 4", "3 7", "3 10"],
    ...["2 rome", "3 0", "3 3", "3 6", "3 9"],
  ]);
  const { count, rate, leaves } = nodeAt(tree, "dev.rome");
  assert.deepEqual([count, rate, leaves], [18, 0.5, 9]);
});

test("what is found is shown where it is", () => {
  const tree = new Tree(devicesOf(12));
  tree.find(searchOf("dev.*.11.*"));
  const everything = new Set(tree.nodes.map(({ path }) => path));
  assert.deepEqual(labelsOf(tree, everything), ["1 dev", "2 lima", "3 11", "4 gps", "4 temp"]);
  assert.deepEqual([...tree.namesAt([tree.root])], ["dev.lima.11.gps", "dev.lima.11.temp"]);
  tree.find(searchOf("nothing"));
  assert.deepEqual(labelsOf(tree, everything), []);
});

test("a choice is said by few patterns that choose nothing else and do not overlap", () => {
  const names = [...devicesOf(30), "dev.rome", "other"];
  const tree = new Tree(names);
  /** @param {(name: string) => boolean} isChosen */
  const said = (isChosen) => tree.patternsOf(new Set(names.filter(isChosen))).sort();
  assert.deepEqual(
    said(() => true),
    [],
  );
  assert.deepEqual(
    said((name) => name !== "other"),
    ["dev.>"],
  );
  assert.deepEqual(
    said((name) => name.startsWith("dev.rome")),
    ["dev.rome", "dev.rome.>"],
  );
  assert.deepEqual(
    said((name) => name.endsWith(".temp")),
    ["dev.*.*.temp"],
  );
  assert.deepEqual(
    said((name) => name.endsWith(".temp") && name.includes("oslo")),
    ["dev.oslo.*.temp"],
  );
  assert.deepEqual(patternsAt(nodeAt(tree, "dev.rome")), ["dev.rome", "dev.rome.>"]);
  assert.deepEqual(patternsAt(nodeAt(tree, "other")), ["other"]);
  let seed = 7;
  const random = () => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647;
  };
  for (let round = 0; round < 200; round++) {
    const share = random();
    const wanted = new Set(names.filter(() => random() < share));
    const patterns = tree.patternsOf(wanted);
    if (!patterns.length) continue;
    const found = names.filter(matcherOf(patterns));
    assert.deepEqual(new Set(found), wanted);
    for (const name of found) {
      assert.equal(patterns.filter((pattern) => matcherOf([pattern])(name)).length, 1, name);
    }
  }
  assert.equal(starsOf(["a.b", "a.c"], ["a.b", "a.c", "a.d"]), null);
});

test("very many names take little time", () => {
  const names = Array.from({ length: 50_000 }, (_, n) => `topic.${n % 40}.${Math.floor(n / 40)}`);
  const begin = performance.now();
  const tree = new Tree(names);
  tree.setNumbers(
    names.map(() => 1),
    names.map(() => 0),
  );
  tree.find(searchOf("topic.*.7"));
  tree.patternsOf(tree.namesAt([tree.root]));
  assert.ok(performance.now() - begin < 5000);
});

// The names of channels as a tree of their parts: sums, what is unfolded, found and chosen.

import { starsOf } from "./subjects.js";

/**
 * @typedef {object} Node
 * @property {string} path
 * @property {string} label
 * @property {number} level from 1
 * @property {Node | null} parent
 * @property {Node[]} children
 * @property {boolean} isSorted whether the children are
 * @property {number} leaf the place of its own name; -1 if it only has others below
 * @property {number} leaves names at it and below
 * @property {number} found those of them that are searched for
 * @property {number} chosen those of them that are chosen
 * @property {number} count messages
 * @property {number} rate messages a second
 */

const MANY = 12; // names from which a tree helps
const UNFOLDED = 24; // rows that a tree has at first, about

const { compare } = new Intl.Collator("en", { numeric: true });

/**
 * @param {string} path
 * @param {string} label
 * @param {Node | null} parent
 * @returns {Node}
 */
const makeNode = (path, label, parent) => ({
  path,
  label,
  parent,
  level: parent ? parent.level + 1 : 0,
  children: [],
  isSorted: false,
  leaf: -1,
  leaves: 0,
  found: 0,
  chosen: 0,
  count: 0,
  rate: 0,
});

export class Tree {
  root = makeNode("", "", null);
  /** @type {Node[]} */
  nodes = []; // each after its parent
  /** @type {Node[]} */
  byLeaf = [];
  /** @type {((name: string) => boolean) | null} */
  search = null;

  /** @param {string[]} names */
  constructor(names) {
    this.names = names;
    /** Whether names are grouped by their parts; a few of them are a plain list. */
    this.isDeep = names.length > MANY;
    if (this.isDeep) this.#group();
    else this.#list();
    this.#sum("leaves", () => 1);
    this.#sum("found", () => 1);
  }

  #list() {
    this.isDeep = false;
    for (const name of this.names) this.#addLeaf(this.#add(name, name, this.root));
  }

  #group() {
    /** @type {Map<string, Node>} */
    const byPath = new Map();
    for (const name of this.names) {
      let node = this.root;
      for (let begin = 0; begin <= name.length; ) {
        const dot = name.indexOf(".", begin);
        const end = dot < 0 ? name.length : dot;
        const path = name.slice(0, end);
        const known = byPath.get(path);
        node = known ?? this.#add(path, name.slice(begin, end), node);
        if (!known) byPath.set(path, node);
        begin = end + 1;
      }
      this.#addLeaf(node);
    }
    if (this.nodes.some((node) => node.children.length > 1)) return;
    // no two names have a part in common
    this.root = makeNode("", "", null);
    [this.nodes, this.byLeaf] = [[], []];
    this.#list();
  }

  /**
   * @param {string} path
   * @param {string} label
   * @param {Node} parent
   */
  #add(path, label, parent) {
    const node = makeNode(path, label, parent);
    parent.children.push(node);
    this.nodes.push(node);
    return node;
  }

  /** @param {Node} node */
  #addLeaf(node) {
    node.leaf = this.byLeaf.length;
    this.byLeaf.push(node);
  }

  /**
   * @param {"leaves" | "found" | "chosen" | "count" | "rate"} field
   * @param {(leaf: number) => number} value
   */
  #sum(field, value) {
    this.root[field] = 0;
    for (const node of this.nodes) node[field] = node.leaf < 0 ? 0 : value(node.leaf);
    for (let index = this.nodes.length - 1; index >= 0; index--) {
      const node = this.nodes[index];
      if (node.parent) node.parent[field] += node[field];
    }
  }

  /**
   * @param {number[]} counts
   * @param {(number | null)[]} rates
   */
  setNumbers(counts, rates) {
    this.#sum("count", (leaf) => counts[leaf] ?? 0);
    this.#sum("rate", (leaf) => rates[leaf] ?? 0);
  }

  /** @param {(name: string) => boolean} isChosen */
  setChosen(isChosen) {
    this.#sum("chosen", (leaf) => Number(isChosen(this.names[leaf])));
  }

  /** @param {((name: string) => boolean) | null} search null finds everything */
  find(search) {
    this.search = search;
    this.#sum("found", (leaf) => Number(!search || search(this.names[leaf])));
  }

  /** The nodes to unfold at first: from the top, as long as there are not too many rows. */
  unfoldedAtFirst() {
    const unfolded = new Set();
    let level = this.root.children;
    let rows = level.length;
    while (level.length) {
      const next = level.flatMap((node) => node.children);
      rows += next.length;
      if (!next.length || rows > UNFOLDED) break;
      for (const node of level) if (node.children.length) unfolded.add(node.path);
      level = next;
    }
    return unfolded;
  }

  /**
   * The rows, from the top.
   *
   * @param {(node: Node) => boolean} isUnfolded
   */
  rows(isUnfolded) {
    /** @type {Node[]} */
    const rows = [];
    /** @param {Node} node */
    const walk = (node) => {
      if (this.isDeep && !node.isSorted) {
        node.children.sort((a, b) => compare(a.label, b.label));
        node.isSorted = true;
      }
      for (const child of node.children) {
        if (!child.found) continue;
        rows.push(child);
        if (child.children.length && isUnfolded(child)) walk(child);
      }
    };
    walk(this.root);
    return rows;
  }

  /**
   * The names at these nodes and below that are found.
   *
   * @param {Iterable<Node>} nodes
   */
  namesAt(nodes) {
    /** @type {Set<string>} */
    const names = new Set();
    /** @param {Node} node */
    const walk = (node) => {
      if (!node.found) return;
      const name = this.names[node.leaf];
      if (node.leaf >= 0 && (!this.search || this.search(name))) names.add(name);
      for (const child of node.children) walk(child);
    };
    for (const node of nodes) walk(node);
    return names;
  }

  /**
   * What says that exactly these names are chosen: few patterns that do not overlap. Everything,
   * which is what no choice means, is [].
   *
   * @param {Set<string>} names
   * @returns {string[]}
   */
  patternsOf(names) {
    const wanted = this.names.filter((name) => names.has(name));
    if (!this.isDeep) return [...names];
    if (wanted.length === this.names.length) return [];
    this.#sum("chosen", (leaf) => Number(names.has(this.names[leaf])));
    const whole = [...this.#whole(this.root.children)];
    if (whole.length < 3) return whole;
    const stars = starsOf(wanted, this.names);
    return stars && stars.length < whole.length ? stars : whole;
  }

  /**
   * @param {Node[]} nodes
   * @returns {Generator<string>}
   */
  *#whole(nodes) {
    for (const node of nodes) {
      if (!node.chosen) continue;
      if (node.chosen === node.leaves && node.leaves > 1) yield* patternsAt(node);
      else {
        if (node.leaf >= 0 && node.chosen > sumOf(node.children)) yield node.path;
        yield* this.#whole(node.children);
      }
    }
  }
}

/** @param {Node[]} nodes */
const sumOf = (nodes) => nodes.reduce((sum, node) => sum + node.chosen, 0);

/**
 * What chooses a node with all that is below it, also what comes later.
 *
 * @param {Node} node
 */
export function patternsAt(node) {
  const own = node.leaf >= 0 ? [node.path] : [];
  return node.children.length ? [...own, `${node.path}.>`] : own;
}

// Which subjects patterns choose, and by which patterns a choice of subjects is said.

/** @param {string} name */
const tokensOf = (name) => name.split(".");

/**
 * Whether every `*` and `>` of a text stands for whole parts of a name, as the server reads them.
 *
 * @param {string} text
 */
export function isPattern(text) {
  const tokens = tokensOf(text);
  const wild = tokens.filter((token) => token === "*" || token === ">");
  if (!wild.length || tokens.includes("") || tokens.slice(0, -1).includes(">")) return false;
  return tokens.every((token) => token.length === 1 || !/[*>]/.test(token));
}

/**
 * @param {string[]} pattern
 * @param {string[]} tokens
 */
function covers(pattern, tokens) {
  for (let place = 0; place < pattern.length; place++) {
    if (pattern[place] === ">") return tokens.length > place;
    if (place >= tokens.length) return false;
    if (pattern[place] !== "*" && pattern[place] !== tokens[place]) return false;
  }
  return pattern.length === tokens.length;
}

/**
 * Tells whether a name is among these names and patterns.
 *
 * @param {string[]} chosen
 * @returns {(name: string) => boolean}
 */
export function matcherOf(chosen) {
  const plain = new Set();
  const beginnings = new Set(); // of patterns like `dev.rome.>`, which are looked up
  /** @type {string[][]} */
  const others = [];
  for (const name of chosen) {
    const begin = name.slice(0, -2);
    if (!isPattern(name)) plain.add(name);
    else if (name.endsWith(".>") && !isPattern(begin)) beginnings.add(begin);
    else others.push(tokensOf(name));
  }
  return (name) => {
    if (plain.has(name)) return true;
    if (beginnings.size) {
      for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
        if (beginnings.has(name.slice(0, dot))) return true;
      }
    }
    return others.length > 0 && others.some((pattern) => covers(pattern, tokensOf(name)));
  };
}

/**
 * What a search finds: names with the text in them, or those that a pattern covers.
 *
 * @param {string} text
 * @returns {(name: string) => boolean}
 */
export function searchOf(text) {
  const wanted = text.trim();
  if (isPattern(wanted)) return matcherOf([wanted]);
  const lower = wanted.toLowerCase();
  return (name) => name.toLowerCase().includes(lower);
}

/**
 * Patterns with `*` that cover these names and no others; null if there are none. They do not
 * overlap, as each is for names of another length.
 *
 * @param {string[]} wanted
 * @param {string[]} names all there are
 */
export function starsOf(wanted, names) {
  /** @type {Map<number, {pattern: string[], size: number}>} */
  const groups = new Map();
  for (const name of wanted) {
    const tokens = tokensOf(name);
    const group = groups.get(tokens.length);
    if (!group) {
      groups.set(tokens.length, { pattern: tokens, size: 1 });
      continue;
    }
    group.size += 1;
    tokens.forEach((token, place) => {
      if (group.pattern[place] !== token) group.pattern[place] = "*";
    });
  }
  let covered = 0;
  for (const name of names) {
    const tokens = tokensOf(name);
    const group = groups.get(tokens.length);
    if (group && covers(group.pattern, tokens)) covered += 1;
  }
  if (covered !== wanted.length) return null;
  return [...groups.values()].map(({ pattern }) => pattern.join("."));
}

// The colours of data, which Python's pictures have too.

// Okabe and Ito's, told apart by colour-blind people
import palette from "./palette.json" with { type: "json" };

/** @typedef {"blue" | "green" | "orange" | "red" | "purple" | "ink"} Color */

const { blue, sky, green, yellow, orange, red, purple } = palette;

/**
 * The colours of marks, on a light or a dark page.
 *
 * @param {boolean} isDark
 * @param {string} ink the colour of text
 * @returns {Record<Color, string>}
 */
export function markColors(isDark, ink) {
  return { blue: isDark ? sky : blue, green, orange, red, purple, ink };
}

/**
 * The colours of lines, in the order of their contrast.
 *
 * @param {boolean} isDark
 */
export function lineColors(isDark) {
  return isDark
    ? [sky, orange, green, yellow, purple, red]
    : [blue, red, green, purple, orange, sky];
}

/**
 * Whether a colour, as the browser computes it, is light.
 *
 * @param {string} color
 */
export function isLight(color) {
  const [r, g, b] = (color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b > 128;
}

// What stands in a cell: a text, shortened where it is a time, or an image with what it is.

/** @typedef {string | [text: string, address: string]} Value */

const TIME = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)Z$/;

/**
 * The text of a cell as it is shown: a time without its day where all are of one, else to the
 * second.
 *
 * @param {Value} value
 * @param {string | undefined} day that all times of the column are of, "" if they are of several;
 *   undefined if these are no times
 */
export function textOf(value, day) {
  const text = wholeOf(value);
  const found = day === undefined ? null : TIME.exec(text);
  if (!found) return text;
  const [, date, time] = found;
  return day ? time : `${date} ${time.slice(0, 8)}`;
}

/**
 * The text of a cell as it came.
 *
 * @param {Value} value
 */
export const wholeOf = (value) => (typeof value === "string" ? value : value[0]);

/**
 * @param {Value} value
 * @param {string} needle in lower case
 * @param {boolean} isTime
 */
export function hasText(value, needle, isTime) {
  const text = wholeOf(value);
  return (isTime ? text.replace("T", " ") : text).toLowerCase().includes(needle);
}

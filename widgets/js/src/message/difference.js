// What differs between two messages, as a table.

import { element } from "../common/dom.js";

/**
 * @typedef {object} Difference
 * @property {string} title
 * @property {[path: string, before: string, after: string, by: string][]} rows
 * @property {string} rest what is not shown
 */

/** @param {Difference} difference */
export function differenceOf({ title, rows, rest }) {
  const section = element("section", "varco-difference", { "aria-label": "Difference" });
  section.append(element("h4", "", {}, title));
  if (rows.length) {
    const head = element("tr");
    for (const name of ["field", "before", "after", "by"]) {
      head.append(element("th", "", { scope: "col" }, name));
    }
    const body = element("tbody");
    for (const [path, before, after, by] of rows) {
      const row = element("tr");
      row.append(
        element("th", "", { scope: "row" }, path),
        element("td", "varco-before", {}, before),
        element("td", "varco-after", {}, after),
        element("td", "varco-by", {}, by),
      );
      body.append(row);
    }
    const table = element("table");
    const header = element("thead");
    header.append(head);
    table.append(header, body);
    const scrolled = element("div", "varco-difference-rows", { tabindex: "0", role: "group" });
    scrolled.setAttribute("aria-label", title);
    scrolled.append(table);
    section.append(scrolled);
  }
  section.append(element("span", "varco-kind", {}, rest));
  return section;
}

// What a table's menus offer: for a column, and for a value.

import { pin, unhide } from "./arrange.js";

/** @typedef {import("./menu.js").Choice} Choice */
/** @typedef {import("./arrange.js").Arrangement} Arrangement */

/**
 * @param {object} about
 * @param {string} about.name
 * @param {boolean} about.isIndex which is always the first
 * @param {boolean} about.isPinned
 * @param {boolean} about.isFirst of those that it can change places with
 * @param {boolean} about.isLast
 * @param {string[]} about.hidden columns that the user hid
 * @param {Arrangement} about.arrangement
 * @param {object} actions
 * @param {(name: string, isDescending: boolean) => void} actions.sort "" is the order of arrival
 * @param {(by: number) => void} actions.move
 * @param {() => void} actions.hide
 * @param {(arrangement: Arrangement) => void} actions.arrange
 * @returns {Choice[][]}
 */
export function choicesOfColumn(about, { sort, move, hide, arrange }) {
  const { name, isIndex, isPinned, isFirst, isLast, hidden, arrangement } = about;
  const isArranged = Object.values(arrangement).some((value) => Object.keys(value).length);
  return [
    [
      { label: "Sort from the lowest", run: () => sort(name, false) },
      { label: "Sort from the highest", run: () => sort(name, true) },
      { label: "In order of arrival", run: () => sort("", false) },
    ],
    isIndex
      ? []
      : [
          { label: "Move to the left", run: () => move(-1), isDisabled: isFirst },
          { label: "Move to the right", run: () => move(1), isDisabled: isLast },
          {
            label: isPinned ? "Unpin" : "Pin to the left",
            run: () => arrange(pin(arrangement, name, !isPinned)),
          },
          { label: "Hide", run: hide },
        ],
    [
      ...hidden.map((other) => ({
        label: `Show ${other}`,
        run: () => arrange(unhide(arrangement, other)),
      })),
      {
        label: "All columns as they were",
        run: () => arrange({}),
        isDisabled: !isArranged && !arrangement.show_empty,
      },
    ],
  ];
}

/**
 * @param {boolean} canFilter
 * @param {object} actions
 * @param {(exclude: boolean) => void} actions.pick
 * @param {() => void} actions.copyValue
 * @param {() => void} actions.copyRows
 * @param {() => void} actions.find
 * @param {() => void} actions.open
 * @returns {Choice[][]}
 */
export function choicesOfValue(canFilter, { pick, copyValue, copyRows, find, open }) {
  return [
    canFilter
      ? [
          { label: "Only rows with this value", run: () => pick(false) },
          { label: "No rows with this value", run: () => pick(true) },
        ]
      : [],
    [
      { label: "Copy this value", run: copyValue },
      { label: "Copy the selected rows", run: copyRows },
      { label: "Find in these rows …", run: find },
    ],
    [{ label: "Open this row", run: open }],
  ];
}

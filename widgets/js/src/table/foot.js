// What stands below a table: how many rows there are, how they are ordered, what is not shown, and
// how to get back to the newest.

import { button, element, setText, showText } from "../common/dom.js";
import { counted, wordsOf } from "./words.js";

export class Foot {
  /**
   * @param {object} actions
   * @param {() => void} actions.onNewest
   * @param {() => void} actions.onEmpty shows columns without a value, or hides them again
   * @param {() => void} actions.onHidden shows the columns that were hidden
   */
  constructor({ onNewest, onEmpty, onHidden }) {
    this.node = element("div", "varco-foot");
    this.count = element("span", "varco-count");
    this.empty = button("", onEmpty);
    this.hidden = button("", onHidden);
    this.newest = button("Follow newest", onNewest, { class: "varco-newest" });
    this.node.append(this.count, this.empty, this.hidden, this.newest);
  }

  /**
   * @param {import("./words.js").Said} said
   * @param {string[]} empty columns without a value
   * @param {boolean} areEmptyShown
   * @param {string[]} hidden columns that the user hid
   */
  draw(said, empty, areEmptyShown, hidden) {
    setText(this.count, wordsOf(said));
    const columns = counted(empty.length, "empty column");
    this.empty.title = `${areEmptyShown ? "Hide" : "Show"} ${empty.join(", ")}`;
    showText(this.empty, empty.length ? `${columns} ${areEmptyShown ? "shown" : "hidden"}` : "");
    this.hidden.title = `Show ${hidden.join(", ")}`;
    showText(this.hidden, hidden.length ? `${counted(hidden.length, "column")} hidden by you` : "");
  }
}

// Whether a table stays at the newest row as rows are added.

import { save } from "../common/model.js";

export class Follow {
  #canResume = false; // scrolling back to the newest row turns it on again
  #isOwnChange = false;

  /**
   * @param {import("../common/model.js").Model<import("./table.js").State>} model
   * @param {import("./rows.js").Rows} rows
   * @param {import("./viewport.js").Viewport} viewport
   */
  constructor(model, rows, viewport) {
    this.model = model;
    this.rows = rows;
    this.viewport = viewport;
  }

  /** Whether it does; a sorted table has no newest row. */
  get isOn() {
    return this.model.get("follow") && !this.rows.extent.sorted;
  }

  /** Whether to offer to follow again. */
  get isOffered() {
    return this.#canResume && !this.model.get("follow") && !this.rows.extent.sorted;
  }

  /** @param {boolean} follow */
  set(follow) {
    this.#canResume = !follow;
    this.#isOwnChange = true;
    save(this.model, { follow });
    this.#isOwnChange = false;
  }

  onChange() {
    if (!this.#isOwnChange) this.#canResume = false;
    if (this.model.get("follow")) this.toNewest();
  }

  toNewest() {
    this.viewport.moveTo(this.rows.newestFirst ? 0 : Infinity);
  }

  /** Follows or not, after the user has gone to another place. */
  notice() {
    if (this.rows.extent.sorted) return;
    const { top, lastTop } = this.viewport;
    const isAtNewest = this.rows.newestFirst ? top < 0.5 : top > lastTop - 0.5;
    const follow = this.model.get("follow");
    if (follow && !isAtNewest) this.set(false);
    else if (!follow && isAtNewest && this.#canResume) this.set(true);
  }

  /** @param {WheelEvent} event */
  onWheel(event) {
    if (event.ctrlKey || event.shiftKey || !this.isOn) return;
    const isAway = this.rows.newestFirst ? event.deltaY > 0 : event.deltaY < 0;
    if (isAway && this.viewport.lastTop > 0) this.set(false);
  }
}

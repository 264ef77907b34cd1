// Which marks of a timeline are shown, as its record is stepped through, and which event is followed.

import { save } from "../common/model.js";
import { clamp } from "../common/numbers.js";
import { Marks } from "./marks.js";

export class Steps {
  marks = new Marks([]);

  /** @param {import("../common/model.js").Model<import("./lanes.js").State>} model */
  constructor(model) {
    this.model = model;
  }

  /** How many marks are shown. */
  get shown() {
    const position = this.model.get("position");
    return position < 0 ? this.marks.length : this.marks.before(position);
  }

  /** The mark that the steps have come to; null at the end. */
  get current() {
    return this.model.get("position") < 0 || !this.shown ? null : this.shown - 1;
  }

  /** @param {1 | -1} by */
  step(by) {
    const isAtEnd = this.model.get("position") < 0;
    return this.goTo(isAtEnd && by > 0 ? this.marks.length - 1 : this.shown - 1 + by);
  }

  /**
   * Shows the marks up to this one; returns the one that it has come to.
   *
   * @param {number} wanted
   */
  goTo(wanted) {
    if (!this.marks.length) return null;
    const mark = clamp(wanted, 0, this.marks.length - 1);
    save(this.model, { position: this.marks.n[mark] + 1 });
    return mark;
  }

  /** Shows all of them. */
  goToEnd() {
    save(this.model, { position: -1 });
  }

  /**
   * Follows the event of a mark, or no event.
   *
   * @param {number | null} mark
   */
  choose(mark) {
    const event = mark === null ? 0 : this.marks.event[mark];
    save(this.model, { selected: event === this.model.get("selected") ? 0 : event });
  }

  /**
   * Follows the next event, or the one before.
   *
   * @param {1 | -1} by
   */
  follow(by) {
    const { events } = this.marks;
    if (!events.length) return;
    const last = events.length - 1;
    const index = events.indexOf(this.model.get("selected"));
    const next = index < 0 ? (by > 0 ? 0 : last) : clamp(index + by, 0, last);
    save(this.model, { selected: events[next] });
  }
}

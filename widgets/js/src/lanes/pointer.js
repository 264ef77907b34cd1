// What the pointer does in a timeline: it points at marks, chooses, zooms and pans.

const CLICK = 5; // pixels that the pointer moves in a click, at most

/** @typedef {{x: number, to: number, isPan: boolean, range: import("./sight.js").Range}} Drag */

export class Pointer {
  /** @type {Drag | null} */
  #drag = null;

  /**
   * @param {import("./lanes.js").Lanes} lanes
   * @param {HTMLElement} plot
   */
  constructor(lanes, plot) {
    this.lanes = lanes;
    this.plot = plot;
    plot.addEventListener("pointermove", (event) => this.onMove(event));
    plot.addEventListener("pointerleave", () => lanes.point(null));
    plot.addEventListener("pointerdown", (event) => this.onDown(event));
    plot.addEventListener("pointerup", (event) => this.onUp(event));
    plot.addEventListener("pointercancel", () => {
      this.#drag = null;
    });
    plot.addEventListener("dblclick", () => lanes.fit());
    plot.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
  }

  /** The part that is being marked to be zoomed to. */
  get marked() {
    const drag = this.#drag;
    return drag && !drag.isPan && Math.abs(drag.to - drag.x) >= CLICK ? [drag.x, drag.to] : null;
  }

  /** @param {WheelEvent} event */
  onWheel(event) {
    const { lanes } = this;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      lanes.zoom(Math.exp(event.deltaY * 0.003), lanes.scale?.place(lanes.placeOf(event).x));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      lanes.pan((event.deltaX || event.deltaY) / 600);
    }
  }

  /** @param {PointerEvent} event */
  onDown(event) {
    if (event.button !== 0) return;
    this.plot.setPointerCapture(event.pointerId);
    const { x } = this.lanes.placeOf(event);
    this.#drag = { x, to: x, isPan: event.shiftKey, range: this.lanes.sight.range };
  }

  /** @param {PointerEvent} event */
  onMove(event) {
    const { lanes } = this;
    const drag = this.#drag;
    if (!drag) {
      lanes.point(this.nearest(event));
      return;
    }
    drag.to = lanes.placeOf(event).x;
    if (drag.isPan && lanes.scale) {
      const { left, right } = lanes.scale;
      lanes.sight.pan((drag.x - drag.to) / (right - left), drag.range);
    }
    lanes.schedule();
  }

  /** @param {PointerEvent} event */
  onUp(event) {
    const { scale, sight } = this.lanes;
    const drag = this.#drag;
    this.#drag = null;
    if (!drag || !scale) return;
    if (Math.abs(drag.to - drag.x) < CLICK) this.lanes.steps.choose(this.nearest(event));
    else if (!drag.isPan) {
      sight.show(scale.place(Math.min(drag.x, drag.to)), scale.place(Math.max(drag.x, drag.to)));
    }
    this.lanes.schedule();
  }

  /** @param {PointerEvent} event */
  nearest(event) {
    const { lanes } = this;
    const { x, y } = lanes.placeOf(event);
    const selected = lanes.model.get("selected");
    return lanes.scale?.nearest(x, y, lanes.steps.shown, selected) ?? null;
  }
}

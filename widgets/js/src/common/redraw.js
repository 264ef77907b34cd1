/**
 * Draws in the next frame of the browser, however often that was asked for, and when the size of a
 * node has changed; not while the node has none.
 */
export class Redraw {
  #frame = 0;

  /**
   * @param {HTMLElement} node
   * @param {() => void} draw
   */
  constructor(node, draw) {
    this.node = node;
    this.draw = draw;
    this.resizes = new ResizeObserver(() => this.schedule());
    this.resizes.observe(node);
  }

  /**
   * Draws when the size of another node has changed, too.
   *
   * @param {HTMLElement} node
   */
  watch(node) {
    this.resizes.observe(node);
  }

  schedule() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.node.clientWidth) {
        this.draw();
        return;
      }
      // not laid out now; an element observed anew is reported as soon as it has a size
      this.resizes.unobserve(this.node);
      this.resizes.observe(this.node);
    });
  }

  dispose() {
    this.resizes.disconnect();
    cancelAnimationFrame(this.#frame);
  }
}

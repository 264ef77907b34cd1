/**
 * Tells Python whether an element can be seen, so that the server is not asked for nobody; returns
 * a function that ends it.
 *
 * @param {import("../common/model.js").Model<any>} model
 * @param {HTMLElement} el
 */
export function tellSight(model, el) {
  const view = Math.random().toString(36).slice(2);
  let isNear = false;
  /** @type {boolean | null} */
  let reported = null;
  /** @param {boolean} seen */
  const report = (seen) => {
    if (seen === reported) return;
    reported = seen;
    model.send({ type: "sight", view, seen });
  };
  const look = () => report(isNear && !document.hidden);
  const leave = () => report(false);
  const observer = new IntersectionObserver((entries) => {
    isNear = entries[entries.length - 1].isIntersecting;
    look();
  });
  observer.observe(el);
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", leave);
  return () => {
    observer.disconnect();
    document.removeEventListener("visibilitychange", look);
    window.removeEventListener("pagehide", leave);
    leave();
  };
}

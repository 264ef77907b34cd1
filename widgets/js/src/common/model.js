// The model of a view: the state that it shares with Python.

/**
 * @template {Record<string, any>} State
 * @typedef {import("@anywidget/types").AnyModel<State>} Model
 */

/** @typedef {(content: any, buffers: DataView[]) => void} Handler */

/**
 * Calls a handler for each of these events; returns a function that ends it.
 *
 * @param {Model<any>} model
 * @param {Record<string, Handler>} handlers
 */
export function listen(model, handlers) {
  const pairs = Object.entries(handlers);
  for (const [event, handler] of pairs) model.on(event, handler);
  return () => {
    for (const [event, handler] of pairs) model.off(event, handler);
  };
}

/**
 * The handlers that call `handler` when one of these traits has changed.
 *
 * @param {string[]} names
 * @param {() => void} handler
 */
export function onChange(names, handler) {
  return Object.fromEntries(names.map((name) => [`change:${name}`, handler]));
}

/**
 * What a bundle exports: the widget whose view is of this class.
 *
 * @template {Record<string, any>} State
 * @param {new (model: Model<State>, el: HTMLElement) => {dispose(): void}} View
 */
export function widgetOf(View) {
  /** @type {import("@anywidget/types").Render<State>} */
  const render = ({ model, el }) => {
    const view = new View(model, el);
    return () => view.dispose();
  };
  return { render };
}

/**
 * Sets traits, and tells Python.
 *
 * @template {Record<string, any>} State
 * @param {Model<State>} model
 * @param {Partial<State>} values
 */
export function save(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

// What can be done with a message: go to the next, compare it, edit it and send it again.

import { button, element, OWN_KEYS } from "../common/dom.js";

/** @typedef {import("@anywidget/types").AnyModel<import("./message.js").State>} Model */

const STEPS = new Map([
  ["k", -1],
  ["j", 1],
]);

/**
 * The bar above a message, and its keys: J for the next message, K for the previous one.
 *
 * @param {Model} model
 * @param {HTMLElement} el what the keys work in
 * @param {Set<string>} can
 */
export function actions(model, el, can) {
  const node = element("div", "varco-message-bar", { role: "group", "aria-label": "Message" });
  /** @param {number} by */
  const step = (by) => model.send({ type: "step", value: by });
  const choice = element("select", "", { "aria-label": "Compare with" });

  if (can.has("step")) {
    node.append(
      button("Previous", () => step(-1), { title: "The message before this one (K)" }),
      button("Next", () => step(1), { title: "The message after this one (J)" }),
    );
    for (const [name, value] of Object.entries({ tabindex: "-1", ...OWN_KEYS })) {
      el.setAttribute(name, value);
    }
  }
  if (can.has("compare")) {
    choice.addEventListener("change", () => model.send({ type: "compare", value: choice.value }));
    const mark = button("Mark", () => model.send({ type: "compare", value: "mark" }), {
      title: "Compare the messages that are opened from now on with this one",
    });
    node.append(choice, mark);
  }
  if (can.has("send")) {
    const title = 'Change this message in the form "Publish", and send it as a new one';
    node.append(button("Edit and send again", () => model.send({ type: "send" }), { title }));
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const by = STEPS.get(event.key.toLowerCase());
    const { target } = event;
    const isTyped =
      target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName);
    if (by === undefined || isTyped || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    step(by);
  }
  if (can.has("step")) el.addEventListener("keydown", onKey);

  function draw() {
    const options = [["", "Compare with nothing"], ...model.get("comparisons")];
    choice.replaceChildren(
      ...options.map(([value, text]) => element("option", "", { value }, text)),
    );
    choice.value = model.get("compared");
  }
  draw();
  return { node, draw, end: () => el.removeEventListener("keydown", onKey) };
}

// One message: its facts and headers, its payload as a tree, as text and as bytes.

import "./message.css";
import { button, copyButton, element, OWN_KEYS } from "../common/dom.js";
import { listen, onChange } from "../common/model.js";
import { actions } from "./actions.js";
import { bytesOf, hexOf, textOf } from "./bytes.js";
import { differenceOf } from "./difference.js";
import { branch, remark } from "./tree.js";

/** @typedef {Uint8Array<ArrayBuffer>} Payload */
/** @typedef {[name: string, value: string, className?: string, meaning?: string]} Fact */

/**
 * @typedef {object} Message
 * @property {string} title
 * @property {string} [summary] when it failed, how often and where
 * @property {string} [failure] what failed, in a line
 * @property {string} [error] the whole text of what failed
 * @property {Fact[]} facts
 * @property {Fact[]} headers
 * @property {import("./tree.js").Tree | null} tree null where the payload is no JSON
 * @property {boolean} is_text
 * @property {string} image the media type of a payload that is an image, else ""
 * @property {string[]} [forms] what it can be copied as
 * @property {boolean} cut whether only the beginning of the payload is here
 * @property {string} size in words
 */

/**
 * @typedef {object} State
 * @property {Message | Partial<Message>} message
 * @property {DataView<ArrayBuffer>} data
 * @property {string} hint
 * @property {string[]} can
 * @property {[name: string, shown: string][]} comparisons
 * @property {string} compared
 * @property {import("./difference.js").Difference | {}} difference
 */
/** @typedef {import("../common/model.js").Model<State>} Model */

/**
 * What Python answers to a message.
 *
 * @param {Model} model
 * @param {Record<string, string>} message
 * @returns {Promise<Payload>}
 */
function ask(model, message) {
  const request = Math.random().toString(36).slice(2);
  return new Promise((resolve) => {
    const silence = listen(model, {
      "msg:custom": (content, buffers) => {
        if (content.request !== request) return;
        silence();
        resolve(bytesOf(/** @type {DataView<ArrayBuffer>} */ (buffers[0])));
      },
    });
    model.send({ ...message, request });
  });
}

/**
 * The whole payload, of which the model may have only the beginning.
 *
 * @param {Model} model
 * @param {Message} message
 * @returns {Payload | Promise<Payload>}
 */
const whole = (model, message) =>
  message.cut ? ask(model, { type: "whole" }) : bytesOf(model.get("data"));

/**
 * @param {Payload} bytes
 * @param {string} name of the file
 */
function download(bytes, name) {
  const link = element("a", "", { download: name });
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {Fact[]} facts */
function list(facts) {
  const made = element("dl");
  for (const [name, value, className, meaning] of facts) {
    const hover = meaning ? { title: meaning } : undefined;
    const data = element("dd", className && `varco-${className}`, hover, value);
    if (meaning) data.append(element("div", "varco-meaning", {}, meaning));
    made.append(element("dt", "", hover, name), data);
  }
  return made;
}

/** @param {Message} message */
function factsOf({ facts, headers }) {
  const side = element("div", "varco-message-facts");
  side.append(
    list(facts),
    element("h4", "", {}, `Headers (${headers.length})`),
    headers.length ? list(headers) : remark("this message has none"),
  );
  return side;
}

/**
 * What failed, the line of a traceback that says it first, as people read one.
 *
 * @param {Message} message
 */
function failureOf({ failure = "", summary = "", error = "" }) {
  if (!error) return [];
  const about = element("div", "varco-message-summary", {}, summary);
  const line = element("div", "varco-message-failure varco-problem", {}, failure);
  const bar = element("div", "varco-message-bar", { role: "group", "aria-label": "Error" });
  const box = element("div");
  bar.append(copyButton("Copy error", () => error));
  box.append(bar);
  if (!failure.includes(error)) {
    const label = { role: "group", tabindex: "0", "aria-label": "Error", ...OWN_KEYS };
    const body = element("div", "varco-message-body varco-message-error", label);
    body.append(element("pre", "varco-wrap", {}, error));
    const lines = error.split("\n").length;
    bar.append(element("span", "", {}, lines === 1 ? "1 line" : `${lines} lines`));
    box.append(body);
  }
  return [line, about, box];
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  el.classList.add("varco", "varco-message");
  let chosen = ""; // how the payload is shown, once the user has chosen
  const can = new Set(model.get("can"));
  const bar = actions(model, el, can);
  const content = element("div", "varco-message-content");
  const differing = element("div");
  el.append(bar.node, content);

  function draw() {
    const message = model.get("message");
    bar.node.hidden = !isWhole(message) || !bar.node.childElementCount;
    if (!isWhole(message)) {
      content.replaceChildren(element("div", "varco-hint", {}, model.get("hint")));
      return;
    }
    const sides = element("div", "varco-message-sides");
    sides.append(payload(message), factsOf(message));
    const title = element("div", "varco-message-title", {}, message.title);
    content.replaceChildren(title, ...failureOf(message), differing, sides);
  }

  /** Scrolls the page so far that one sees which message it is and what failed. */
  function reveal() {
    const [title, ...others] = content.children;
    const said = "error" in model.get("message") ? others.slice(0, 3) : [];
    // of the text of an error its first line is enough, or the table would go out of sight
    const parts = [title, ...said.map((part) => part.firstElementChild ?? part), title];
    for (const part of parts) part?.scrollIntoView({ block: "nearest" });
  }

  function drawDifference() {
    const difference = model.get("difference");
    differing.replaceChildren(...("rows" in difference ? [differenceOf(difference)] : []));
  }

  /** @param {Message} message */
  function payload(message) {
    const { tree, is_text: isText } = message;
    const bytes = bytesOf(model.get("data"));
    const side = element("div", "varco-message-payload");
    const bar = element("div", "varco-message-bar", { role: "group", "aria-label": "Payload" });
    const label = { tabindex: "0", "aria-label": "Payload", ...OWN_KEYS };
    const body = element("div", "varco-message-body", { role: "group", ...label });
    /** @type {Map<string, () => HTMLElement>} */
    const forms = new Map();
    if (message.image) forms.set("Image", () => imageOf(model, message));
    if (tree) forms.set("Tree", () => inside(branch(tree)));
    if (isText) forms.set("Text", () => element("pre", "varco-wrap", {}, textOf(bytes)));
    forms.set("Hex", () => element("pre", "", {}, hexOf(bytes)));
    /** @type {HTMLButtonElement[]} */
    const buttons = [];
    /** @param {string} form */
    const show = (form) => {
      for (const other of buttons) {
        other.setAttribute("aria-pressed", String(other.textContent === form));
      }
      body.replaceChildren(bytes.length ? (forms.get(form)?.() ?? "") : remark("no bytes"));
    };
    for (const form of forms.keys()) {
      const choose = () => {
        chosen = form;
        show(form);
      };
      buttons.push(button(form, choose));
    }
    const [action, written] = isText ? ["Copy text", textOf] : ["Copy hex", hexOf];
    const kind = tree ? "json" : isText ? "txt" : "bin";
    const suffix = message.image.replace("image/", "") || kind;
    bar.append(
      ...buttons,
      copyButton(action, async () => written(await whole(model, message))),
      button("Save", async () => download(await whole(model, message), `payload.${suffix}`)),
      ...(message.forms ?? []).map((form) =>
        copyButton(`Copy ${form}`, async () => textOf(await ask(model, { type: "copy", form }))),
      ),
      element("span", "", {}, message.size),
    );
    const first = message.image ? "Image" : tree ? "Tree" : isText ? "Text" : "Hex";
    show(forms.has(chosen) ? chosen : first);
    side.append(bar, body);
    return side;
  }

  draw();
  drawDifference();
  const silence = listen(model, {
    ...onChange(["message"], draw),
    ...onChange(["difference"], drawDifference),
    ...onChange(["comparisons", "compared"], bar.draw),
    "msg:custom": (content) => content.type === "reveal" && reveal(),
  });
  return () => {
    silence();
    bar.end();
  };
}

/**
 * The payload as the image that it is.
 *
 * @param {Model} model
 * @param {Message} message
 */
function imageOf(model, message) {
  const image = element("img", "varco-message-image", { alt: `Image, ${message.size}` });
  const hint = remark("loading the image …");
  const box = element("div");
  box.append(image, hint);
  image.hidden = true;
  Promise.resolve(whole(model, message)).then((bytes) => {
    const url = URL.createObjectURL(new Blob([bytes], { type: message.image }));
    image.addEventListener("load", () => {
      URL.revokeObjectURL(url);
      image.hidden = false;
      hint.textContent = `${image.naturalWidth} × ${image.naturalHeight} pixels`;
    });
    image.addEventListener("error", () => {
      URL.revokeObjectURL(url);
      hint.textContent = "the browser cannot read this image";
    });
    image.src = url;
  });
  return box;
}

/**
 * @param {Message | Partial<Message>} message
 * @returns {message is Message}
 */
const isWhole = (message) => message.facts !== undefined;

/** @param {HTMLElement} node */
function inside(node) {
  const tree = element("div", "varco-tree");
  tree.append(node);
  return tree;
}

export default { render };

// src/common/dom.js
var OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };
function element(tag, className = "", attributes = {}, text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}
function button(label, onClick, attributes = {}) {
  const made = element("button", "", { type: "button", ...attributes }, label);
  made.addEventListener("click", onClick);
  return made;
}
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = (
      /** @type {HTMLElement | null} */
      document.activeElement
    );
    const area = element("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    before?.focus();
    return isDone;
  }
}
function copyButton(label, text) {
  const made = button(label, async () => {
    made.textContent = await copy(await text()) ? "Copied" : "Not copied";
    setTimeout(() => {
      made.textContent = label;
    }, 1500);
  });
  return made;
}

// src/common/model.js
function listen(model, handlers) {
  const pairs = Object.entries(handlers);
  for (const [event, handler] of pairs) model.on(event, handler);
  return () => {
    for (const [event, handler] of pairs) model.off(event, handler);
  };
}
function onChange(names, handler) {
  return Object.fromEntries(names.map((name) => [`change:${name}`, handler]));
}

// src/message/bytes.js
var LINE = 16;
var bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
var textOf = (bytes) => new TextDecoder().decode(bytes);
function hexOf(bytes) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += LINE) {
    const part = bytes.subarray(start, start + LINE);
    const codes = Array.from(part, (byte) => byte.toString(16).padStart(2, "0"));
    const chars = Array.from(
      part,
      (byte) => byte > 31 && byte < 127 ? String.fromCharCode(byte) : "."
    );
    const halves = `${codes.slice(0, 8).join(" ")}  ${codes.slice(8).join(" ")}`;
    lines.push(`${start.toString(16).padStart(8, "0")}  ${halves.padEnd(48)}  ${chars.join("")}`);
  }
  return lines.join("\n");
}

// src/message/tree.js
var OPEN_DEPTH = 2;
var OPEN_SIZE = 30;
function branch(tree, depth = 0) {
  const { name, kind, size = 0, children, left_out: leftOut } = tree;
  if (!children) return leaf(tree);
  const details = element("details");
  const summary = element("summary");
  const inner = element("div");
  if (name) summary.append(keyed(name), ": ");
  summary.append(kind === "list" ? "[…]" : "{…}", remark(`${kind}, ${sizeWords(kind, size)}`));
  details.append(summary, inner);
  const fill = () => {
    if (inner.childElementCount) return;
    for (const child of children) inner.append(branch(child, depth + 1));
    if (leftOut) inner.append(remark(`${leftOut} more not shown`));
  };
  details.addEventListener("toggle", fill);
  if (depth < OPEN_DEPTH && (size <= OPEN_SIZE || depth === 0)) {
    fill();
    details.open = true;
  }
  return details;
}
function leaf({ name, kind, text = "" }) {
  const row = element("div", "varco-leaf");
  const shown = kind === "text" ? JSON.stringify(text) : text;
  if (name) row.append(keyed(name), ": ");
  row.append(element("span", "varco-value", { "data-kind": kind }, shown), remark(kind));
  return row;
}
var remark = (text) => element("span", "varco-kind", {}, text);
var keyed = (name) => element("span", "varco-key", {}, name);
function sizeWords(kind, size) {
  const noun = kind === "list" ? "value" : "field";
  return `${size.toLocaleString("en")} ${noun}${size === 1 ? "" : "s"}`;
}

// src/message/message.js
function whole(model, message) {
  if (!message.cut) return bytesOf(model.get("data"));
  const request = Math.random().toString(36).slice(2);
  return new Promise((resolve) => {
    const silence = listen(model, {
      "msg:custom": (content, buffers) => {
        if (content.request !== request) return;
        silence();
        resolve(bytesOf(
          /** @type {DataView<ArrayBuffer>} */
          buffers[0]
        ));
      }
    });
    model.send({ type: "whole", request });
  });
}
function download(bytes, name) {
  const link = element("a", "", { download: name });
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 6e4);
}
function list(facts) {
  const made = element("dl");
  for (const [name, value, className, meaning] of facts) {
    const hover = meaning ? { title: meaning } : void 0;
    const data = element("dd", className && `varco-${className}`, hover, value);
    if (meaning) data.append(element("div", "varco-meaning", {}, meaning));
    made.append(element("dt", "", hover, name), data);
  }
  return made;
}
function factsOf({ facts, headers }) {
  const side = element("div", "varco-message-facts");
  side.append(
    list(facts),
    element("h4", "", {}, `Headers (${headers.length})`),
    headers.length ? list(headers) : remark("this message has none")
  );
  return side;
}
function render({ model, el }) {
  el.classList.add("varco", "varco-message");
  let chosen = "";
  function draw() {
    const message = model.get("message");
    if (!isWhole(message)) {
      el.replaceChildren(element("div", "varco-hint", {}, model.get("hint")));
      return;
    }
    const sides = element("div", "varco-message-sides");
    sides.append(factsOf(message), payload(message));
    el.replaceChildren(element("div", "varco-message-title", {}, message.title), sides);
  }
  function payload(message) {
    const { tree, is_text: isText } = message;
    const bytes = bytesOf(model.get("data"));
    const side = element("div", "varco-message-payload");
    const bar = element("div", "varco-message-bar", { role: "group", "aria-label": "Payload" });
    const label = { tabindex: "0", "aria-label": "Payload", ...OWN_KEYS };
    const body = element("div", "varco-message-body", label);
    const forms = /* @__PURE__ */ new Map();
    if (tree) forms.set("Tree", () => inside(branch(tree)));
    forms.set("Text", () => element("pre", "varco-wrap", {}, textOf(bytes)));
    forms.set("Hex", () => element("pre", "", {}, hexOf(bytes)));
    const buttons = [];
    const show = (form) => {
      for (const other of buttons) {
        other.setAttribute("aria-pressed", String(other.textContent === form));
      }
      body.replaceChildren(bytes.length ? forms.get(form)?.() ?? "" : remark("no bytes"));
    };
    for (const form of forms.keys()) {
      const choose = () => {
        chosen = form;
        show(form);
      };
      buttons.push(button(form, choose));
    }
    const [action, written] = isText ? ["Copy text", textOf] : ["Copy hex", hexOf];
    const suffix = tree ? "json" : isText ? "txt" : "bin";
    bar.append(
      ...buttons,
      copyButton(action, async () => written(await whole(model, message))),
      button("Save", async () => download(await whole(model, message), `payload.${suffix}`)),
      element("span", "", {}, message.size)
    );
    const first = tree ? "Tree" : isText ? "Text" : "Hex";
    show(forms.has(chosen) ? chosen : first);
    side.append(bar, body);
    return side;
  }
  draw();
  return listen(model, onChange(["message"], draw));
}
var isWhole = (message) => message.facts !== void 0;
function inside(node) {
  const tree = element("div", "varco-tree");
  tree.append(node);
  return tree;
}
var message_default = { render };
export {
  message_default as default
};

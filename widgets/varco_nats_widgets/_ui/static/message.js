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

// src/message/actions.js
var STEPS = /* @__PURE__ */ new Map([
  ["k", -1],
  ["j", 1]
]);
function actions(model, el, can) {
  const node = element("div", "varco-message-bar", { role: "group", "aria-label": "Message" });
  const step = (by) => model.send({ type: "step", value: by });
  const choice = element("select", "", { "aria-label": "Compare with" });
  if (can.has("step")) {
    node.append(
      button("Previous", () => step(-1), { title: "The message before this one (K)" }),
      button("Next", () => step(1), { title: "The message after this one (J)" })
    );
    for (const [name, value] of Object.entries({ tabindex: "-1", ...OWN_KEYS })) {
      el.setAttribute(name, value);
    }
  }
  if (can.has("compare")) {
    choice.addEventListener("change", () => model.send({ type: "compare", value: choice.value }));
    const mark = button("Mark", () => model.send({ type: "compare", value: "mark" }), {
      title: "Compare the messages that are opened from now on with this one"
    });
    node.append(choice, mark);
  }
  if (can.has("send")) {
    const title = 'Change this message in the form "Publish", and send it as a new one';
    node.append(button("Edit and send again", () => model.send({ type: "send" }), { title }));
  }
  function onKey(event) {
    const by = STEPS.get(event.key.toLowerCase());
    const { target } = event;
    const isTyped = target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName);
    if (by === void 0 || isTyped || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    step(by);
  }
  if (can.has("step")) el.addEventListener("keydown", onKey);
  function draw() {
    const options = [["", "Compare with nothing"], ...model.get("comparisons")];
    choice.replaceChildren(
      ...options.map(([value, text]) => element("option", "", { value }, text))
    );
    choice.value = model.get("compared");
  }
  draw();
  return { node, draw, end: () => el.removeEventListener("keydown", onKey) };
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

// src/message/difference.js
function differenceOf({ title, rows, rest }) {
  const section = element("section", "varco-difference", { "aria-label": "Difference" });
  section.append(element("h4", "", {}, title));
  if (rows.length) {
    const head = element("tr");
    for (const name of ["field", "before", "after", "by"]) {
      head.append(element("th", "", { scope: "col" }, name));
    }
    const body = element("tbody");
    for (const [path, before, after, by] of rows) {
      const row = element("tr");
      row.append(
        element("th", "", { scope: "row" }, path),
        element("td", "varco-before", {}, before),
        element("td", "varco-after", {}, after),
        element("td", "varco-by", {}, by)
      );
      body.append(row);
    }
    const table = element("table");
    const header = element("thead");
    header.append(head);
    table.append(header, body);
    const scrolled = element("div", "varco-difference-rows", { tabindex: "0", role: "group" });
    scrolled.setAttribute("aria-label", title);
    scrolled.append(table);
    section.append(scrolled);
  }
  section.append(element("span", "varco-kind", {}, rest));
  return section;
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
function ask(model, message) {
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
    model.send({ ...message, request });
  });
}
var whole = (model, message) => message.cut ? ask(model, { type: "whole" }) : bytesOf(model.get("data"));
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
function render({ model, el }) {
  el.classList.add("varco", "varco-message");
  let chosen = "";
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
  function reveal() {
    const [title, ...others] = content.children;
    const said = "error" in model.get("message") ? others.slice(0, 3) : [];
    const parts = [title, ...said.map((part) => part.firstElementChild ?? part), title];
    for (const part of parts) part?.scrollIntoView({ block: "nearest" });
  }
  function drawDifference() {
    const difference = model.get("difference");
    differing.replaceChildren(..."rows" in difference ? [differenceOf(difference)] : []);
  }
  function payload(message) {
    const { tree, is_text: isText } = message;
    const bytes = bytesOf(model.get("data"));
    const side = element("div", "varco-message-payload");
    const bar2 = element("div", "varco-message-bar", { role: "group", "aria-label": "Payload" });
    const label = { tabindex: "0", "aria-label": "Payload", ...OWN_KEYS };
    const body = element("div", "varco-message-body", { role: "group", ...label });
    const forms = /* @__PURE__ */ new Map();
    if (message.image) forms.set("Image", () => imageOf(model, message));
    if (tree) forms.set("Tree", () => inside(branch(tree)));
    if (isText) forms.set("Text", () => element("pre", "varco-wrap", {}, textOf(bytes)));
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
    const kind = tree ? "json" : isText ? "txt" : "bin";
    const suffix = message.image.replace("image/", "") || kind;
    bar2.append(
      ...buttons,
      copyButton(action, async () => written(await whole(model, message))),
      button("Save", async () => download(await whole(model, message), `payload.${suffix}`)),
      ...(message.forms ?? []).map(
        (form) => copyButton(`Copy ${form}`, async () => textOf(await ask(model, { type: "copy", form })))
      ),
      element("span", "", {}, message.size)
    );
    const first = message.image ? "Image" : tree ? "Tree" : isText ? "Text" : "Hex";
    show(forms.has(chosen) ? chosen : first);
    side.append(bar2, body);
    return side;
  }
  draw();
  drawDifference();
  const silence = listen(model, {
    ...onChange(["message"], draw),
    ...onChange(["difference"], drawDifference),
    ...onChange(["comparisons", "compared"], bar.draw),
    "msg:custom": (content2) => content2.type === "reveal" && reveal()
  });
  return () => {
    silence();
    bar.end();
  };
}
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

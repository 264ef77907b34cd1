// src/common/dom.js
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

// src/code/code.js
function render({ model, el }) {
  el.classList.add("varco", "varco-code");
  const code = element("code", "", { role: "group", tabindex: "0" });
  const copies = copyButton("Copy", () => model.get("code"));
  el.append(code, copies);
  function draw() {
    code.textContent = model.get("code") || model.get("empty");
    code.setAttribute("aria-label", model.get("label"));
    copies.setAttribute("aria-label", `Copy: ${model.get("label")}`);
    copies.disabled = !model.get("code");
  }
  draw();
  return listen(model, onChange(["code"], draw));
}
var code_default = { render };
export {
  code_default as default
};

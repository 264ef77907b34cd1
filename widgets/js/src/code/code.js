// A line of Python with a button that copies it.

import "./code.css";
import { copyButton, element } from "../common/dom.js";
import { listen, onChange } from "../common/model.js";

/** @typedef {{code: string, label: string, empty: string}} State */

/** @type {import("@anywidget/types").Render<State>} */
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

export default { render };

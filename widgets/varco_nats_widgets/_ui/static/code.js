// A line of Python with a button that copies it.

function render({ model, el }) {
  el.classList.add("varco-part", "varco-code");
  const code = element("code", "", { tabindex: "0" });
  const copies = copyButton("Copy", () => model.get("code"));
  el.append(code, copies);

  function draw() {
    code.textContent = model.get("code") || model.get("empty");
    code.setAttribute("aria-label", model.get("label"));
    copies.setAttribute("aria-label", `Copy: ${model.get("label")}`);
    copies.disabled = !model.get("code");
  }

  model.on("change:code", draw);
  draw();
  return () => model.off("change:code", draw);
}

export default { render };

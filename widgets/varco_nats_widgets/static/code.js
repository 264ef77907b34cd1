// A line of Python with a button that copies it.

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // a page without a secure address has no clipboard
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function render({ model, el }) {
  el.classList.add("varco-part", "varco-code");
  const code = document.createElement("code");
  code.tabIndex = 0;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await copy(model.get("code"));
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  el.append(code, button);

  function draw() {
    code.textContent = model.get("code") || model.get("empty");
    code.setAttribute("aria-label", model.get("label"));
    button.setAttribute("aria-label", `Copy: ${model.get("label")}`);
    button.disabled = !model.get("code");
  }

  model.on("change:code", draw);
  draw();
  return () => model.off("change:code", draw);
}

export default { render };

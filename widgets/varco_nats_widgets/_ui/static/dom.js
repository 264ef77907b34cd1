// What the views make their pages of; comes before the code of each. Texts are never markup.

function element(tag, className, attributes = {}) {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function button(label, onClick) {
  const made = element("button", "", { type: "button" });
  made.textContent = label;
  made.addEventListener("click", onClick);
  return made;
}

// A page without a secure address has no clipboard, but this command. Whether it was done.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const area = element("textarea", "");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}

// A button that says for a moment what came of copying what `text` gives.
function copyButton(label, text) {
  const made = button(label, async () => {
    made.textContent = (await copy(await text())) ? "Copied" : "Not copied";
    setTimeout(() => (made.textContent = label), 1500);
  });
  return made;
}


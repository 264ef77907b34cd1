// One message: its facts and headers, its payload as a tree, as text and as bytes.
// All of it reaches the page through textContent.

const OPEN_DEPTH = 2; // levels of the tree that are open at first
const OPEN_SIZE = 30; // larger lists and objects are closed at first
const LINE = 16; // bytes in a line of hex

function span(className, text, attributes) {
  const node = element("span", className, attributes);
  node.textContent = text;
  return node;
}

function size(node) {
  const one = node.kind === "list" ? "value" : "field";
  return `${node.size.toLocaleString("en")} ${one}${node.size === 1 ? "" : "s"}`;
}

function leaf(node) {
  const row = element("div", "varco-leaf");
  if (node.name) row.append(span("varco-key", node.name), ": ");
  const text = node.kind === "text" ? JSON.stringify(node.text) : node.text;
  row.append(span("varco-value", text, { "data-kind": node.kind }));
  row.append(span("varco-kind", node.kind));
  return row;
}

function branch(node, depth) {
  if (!node.children) return leaf(node);
  const details = element("details", "");
  const summary = element("summary", "");
  if (node.name) summary.append(span("varco-key", node.name), ": ");
  summary.append(node.kind === "list" ? "[…]" : "{…}");
  summary.append(span("varco-kind", `${node.kind}, ${size(node)}`));
  const inner = element("div", "");
  details.append(summary, inner);
  const fill = () => {
    if (inner.childElementCount) return;
    for (const child of node.children) inner.append(branch(child, depth + 1));
    if (node.left_out) inner.append(span("varco-kind", `${node.left_out} more not shown`));
  };
  details.addEventListener("toggle", fill); // a closed branch costs nothing
  if (depth < OPEN_DEPTH && (node.size <= OPEN_SIZE || depth === 0)) {
    fill();
    details.open = true;
  }
  return details;
}

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += LINE) {
    const part = bytes.subarray(at, at + LINE);
    const codes = Array.from(part, (byte) => byte.toString(16).padStart(2, "0"));
    const chars = Array.from(part, (byte) =>
      byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".",
    );
    const halves = [codes.slice(0, 8).join(" "), codes.slice(8).join(" ")].join("  ");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${halves.padEnd(48)}  ${chars.join("")}`);
  }
  return lines.join("\n");
}

function list(pairs) {
  const made = element("dl", "");
  for (const [name, value, kind] of pairs) {
    const term = element("dt", "");
    term.textContent = name;
    const data = element("dd", kind ? `varco-${kind}` : "");
    data.textContent = value;
    made.append(term, data);
  }
  return made;
}

function heading(text) {
  const made = element("h4", "");
  made.textContent = text;
  return made;
}

function save(bytes, name) {
  const link = element("a", "", { download: name });
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const textOf = (bytes) => new TextDecoder().decode(bytes);

function render({ model, el }) {
  el.classList.add("varco-part", "varco-message");
  let shown = ""; // tree, text or hex, once it was chosen

  // The payload, of which `data` may have the beginning only.
  function whole(message) {
    if (!message.cut) return bytesOf(model.get("data"));
    const request = Math.random().toString(36).slice(2);
    return new Promise((done) => {
      const answer = (content, buffers) => {
        if (content.request !== request) return;
        model.off("msg:custom", answer);
        done(bytesOf(buffers[0]));
      };
      model.on("msg:custom", answer);
      model.send({ type: "whole", request });
    });
  }

  function draw() {
    const message = model.get("message");
    el.replaceChildren();
    if (!message.facts) {
      const hint = element("div", "varco-hint");
      hint.textContent = model.get("hint");
      el.append(hint);
      return;
    }
    const title = element("div", "varco-message-title");
    title.textContent = message.title;
    const facts = element("div", "varco-message-facts");
    facts.append(list(message.facts), heading(`Headers (${message.headers.length})`));
    facts.append(
      message.headers.length ? list(message.headers) : span("varco-kind", "this message has none"),
    );
    const sides = element("div", "varco-message-sides");
    sides.append(facts, payload(message));
    el.append(title, sides);
  }

  function payload(message) {
    const bytes = bytesOf(model.get("data"));
    const side = element("div", "varco-message-payload");
    const bar = element("div", "varco-message-bar", { role: "group", "aria-label": "Payload" });
    const body = element("div", "varco-message-body", {
      tabindex: "0",
      "aria-label": "Payload",
      "data-lm-suppress-shortcuts": "true",
    });
    const ways = {
      Tree: () => {
        const tree = element("div", "varco-tree");
        tree.append(branch(message.tree, 0));
        return tree;
      },
      Text: () => {
        const pre = element("pre", "varco-wrap");
        pre.textContent = textOf(bytes);
        return pre;
      },
      Hex: () => {
        const pre = element("pre", "");
        pre.textContent = hex(bytes);
        return pre;
      },
    };
    if (!message.tree) delete ways.Tree;
    const buttons = {};
    const show = (way) => {
      for (const name of Object.keys(buttons)) {
        buttons[name].setAttribute("aria-pressed", String(name === way));
      }
      body.replaceChildren(bytes.length ? ways[way]() : span("varco-kind", "no bytes"));
    };
    for (const way of Object.keys(ways)) {
      buttons[way] = button(way, () => {
        shown = way;
        show(way);
      });
      bar.append(buttons[way]);
    }
    const [label, written] = message.is_text ? ["Copy text", textOf] : ["Copy hex", hex];
    bar.append(copyButton(label, async () => written(await whole(message))));
    const suffix = message.tree ? "json" : message.is_text ? "txt" : "bin";
    bar.append(button("Save", async () => save(await whole(message), `payload.${suffix}`)));
    bar.append(span("", message.size));
    const first = message.tree ? "Tree" : message.is_text ? "Text" : "Hex";
    show(shown in ways ? shown : first);
    side.append(bar, body);
    return side;
  }

  model.on("change:message", draw);
  draw();
  return () => model.off("change:message", draw);
}

export default { render };

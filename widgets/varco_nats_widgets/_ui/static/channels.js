// src/common/dom.js
var OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };
function element(tag, className = "", attributes = {}, text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function showText(node, text) {
  setText(node, text);
  node.hidden = !text;
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
function save(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

// src/common/numbers.js
var clamp = (value, low, high) => Math.max(low, Math.min(value, high));

// src/channels/sight.js
function tellSight(model, el) {
  const view = Math.random().toString(36).slice(2);
  let isNear = false;
  let reported = null;
  const report = (seen) => {
    if (seen === reported) return;
    reported = seen;
    model.send({ type: "sight", view, seen });
  };
  const look = () => report(isNear && !document.hidden);
  const leave = () => report(false);
  const observer = new IntersectionObserver((entries) => {
    isNear = entries[entries.length - 1].isIntersecting;
    look();
  });
  observer.observe(el);
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", leave);
  return () => {
    observer.disconnect();
    document.removeEventListener("visibilitychange", look);
    window.removeEventListener("pagehide", leave);
    leave();
  };
}

// src/channels/channels.js
var MANY = 12;
var MAX_ROWS = 500;
function render({ model, el }) {
  el.classList.add("varco", "varco-channels");
  const search = element("input", "", {
    type: "search",
    placeholder: "Find a channel",
    "aria-label": "Find a channel",
    ...OWN_KEYS
  });
  const list = element("div", "varco-channel-list", {
    role: "listbox",
    "aria-label": "Channels",
    "aria-multiselectable": "true",
    ...OWN_KEYS
  });
  const hint = element("div", "varco-hint");
  el.append(search, list, hint);
  const rows = /* @__PURE__ */ new Map();
  let order = [];
  let focused = null;
  function choose(chosen) {
    save(model, { chosen });
    draw();
  }
  function toggle(name) {
    const chosen = model.get("chosen");
    const others = chosen.filter((other) => other !== name);
    choose(others.length < chosen.length ? others : [...chosen, name]);
  }
  function focus(name) {
    focused = name;
    for (const [other, row] of rows) row.node.tabIndex = other === name ? 0 : -1;
    rows.get(name)?.node.focus();
  }
  function onKey(event, name) {
    const index = order.indexOf(name);
    const last = order.length - 1;
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: last }[event.key];
    if (to !== void 0) focus(order[clamp(to, 0, last)]);
    else if (event.key === "Enter") choose([name]);
    else if (event.key === " ") toggle(name);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  function make(name) {
    const node = element("div", "varco-channel", { role: "option", tabindex: "-1" });
    const box = element("input", "", {
      type: "checkbox",
      tabindex: "-1",
      "aria-hidden": "true",
      title: "Show together with others"
    });
    const label = element("span", "varco-channel-name", { title: name }, name);
    const rate = element("span", "varco-channel-rate");
    const count = element("span", "varco-channel-count");
    node.append(box, label, rate, count);
    box.addEventListener("click", (event) => {
      event.stopPropagation();
      focused = name;
      toggle(name);
    });
    node.addEventListener("click", (event) => {
      focus(name);
      if (event.ctrlKey || event.metaKey || event.shiftKey) toggle(name);
      else choose([name]);
    });
    node.addEventListener("keydown", (event) => onKey(event, name));
    node.addEventListener("focus", () => {
      focused = name;
    });
    const row = { node, box, rate, count };
    rows.set(name, row);
    return row;
  }
  function draw() {
    const channels = model.get("channels");
    const chosen = new Set(model.get("chosen"));
    const wanted = search.value.toLowerCase();
    search.hidden = channels.length < MANY && !wanted;
    const found = channels.filter(([name]) => name.toLowerCase().includes(wanted));
    const shown = found.slice(0, MAX_ROWS);
    order = shown.map(([name]) => name);
    for (const [name, row] of rows) {
      if (!order.includes(name)) {
        row.node.remove();
        rows.delete(name);
      }
    }
    const first = focused !== null && order.includes(focused) ? focused : order[0];
    shown.forEach(([name, count, rate, isBusy], index) => {
      const row = rows.get(name) ?? make(name);
      if (list.children[index] !== row.node) list.insertBefore(row.node, list.children[index]);
      setText(row.count, count);
      setText(row.rate, rate);
      row.rate.classList.toggle("varco-busy", isBusy);
      row.box.checked = chosen.has(name);
      row.node.setAttribute("aria-selected", String(chosen.has(name)));
      row.node.tabIndex = name === first ? 0 : -1;
    });
    const left = channels.length - shown.length;
    const more = left ? `${left} more` : "";
    showText(hint, channels.length ? more : "No channel holds a message yet.");
  }
  search.addEventListener("input", draw);
  draw();
  const silence = listen(model, onChange(["channels", "chosen"], draw));
  const stopTelling = tellSight(model, el);
  return () => {
    stopTelling();
    silence();
  };
}
var channels_default = { render };
export {
  channels_default as default
};

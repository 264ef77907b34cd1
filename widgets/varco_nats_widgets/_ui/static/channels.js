// The list of channels: pick one, or several by their boxes. Rates are renewed in place, so that
// nothing moves under the pointer or the focus. Names reach the page through textContent only.

const MANY = 12; // channels from which a search box helps
const MOST = 500; // rows drawn

function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

// Tells Python whether this can be seen, so that the server is not asked for nobody.
function tellSight(model, el) {
  const view = Math.random().toString(36).slice(2);
  let [near, told] = [false, null];
  const tell = (seen) => {
    if (seen === told) return;
    told = seen;
    model.send({ type: "sight", view, seen });
  };
  const look = () => tell(near && !document.hidden);
  const leave = () => tell(false);
  const observer = new IntersectionObserver((entries) => {
    near = entries.at(-1).isIntersecting;
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

function render({ model, el }) {
  el.classList.add("varco-part", "varco-channels");
  const search = element("input", "", {
    type: "search",
    placeholder: "Find a channel",
    "aria-label": "Find a channel",
    "data-lm-suppress-shortcuts": "true",
  });
  const list = element("div", "varco-channel-list", {
    role: "listbox",
    "aria-label": "Channels",
    "aria-multiselectable": "true",
    "data-lm-suppress-shortcuts": "true",
  });
  const hint = element("div", "varco-hint");
  el.append(search, list, hint);
  const rows = new Map(); // name -> row
  let order = [];
  let focused = null;

  function choose(names) {
    model.set("chosen", names);
    model.save_changes();
    draw();
  }

  function toggle(name) {
    const chosen = model.get("chosen");
    choose(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]);
  }

  function focus(name) {
    focused = name;
    for (const [one, row] of rows) row.node.tabIndex = one === name ? 0 : -1;
    rows.get(name)?.node.focus();
  }

  function onKey(event, name) {
    const at = order.indexOf(name);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: order.length - 1 }[event.key];
    if (to !== undefined) focus(order[Math.max(0, Math.min(to, order.length - 1))]);
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
      title: "Show together with others",
    });
    const label = element("span", "varco-channel-name");
    const rate = element("span", "varco-channel-rate");
    const count = element("span", "varco-channel-count");
    text(label, name);
    label.title = name;
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
    node.addEventListener("focus", () => (focused = name));
    return { node, box, rate, count };
  }

  function draw() {
    const channels = model.get("channels");
    const chosen = new Set(model.get("chosen"));
    const wanted = search.value.toLowerCase();
    search.hidden = channels.length < MANY && !wanted;
    const shown = channels.filter(([name]) => name.toLowerCase().includes(wanted)).slice(0, MOST);
    order = shown.map(([name]) => name);
    for (const [name, row] of rows) {
      if (!order.includes(name)) {
        row.node.remove();
        rows.delete(name);
      }
    }
    shown.forEach(([name, count, rate, busy], place) => {
      const row = rows.get(name) ?? make(name);
      rows.set(name, row);
      if (list.children[place] !== row.node) list.insertBefore(row.node, list.children[place]);
      text(row.count, count);
      text(row.rate, rate);
      row.rate.classList.toggle("varco-busy", busy);
      row.box.checked = chosen.has(name);
      row.node.setAttribute("aria-selected", String(chosen.has(name)));
      row.node.tabIndex = name === focused ? 0 : -1;
    });
    if (order.length && !order.includes(focused)) rows.get(order[0]).node.tabIndex = 0;
    const left = channels.length - shown.length;
    text(hint, channels.length ? (left ? `${left} more` : "") : "No channel holds a message yet.");
    hint.hidden = !hint.textContent;
  }

  search.addEventListener("input", draw);
  model.on("change:channels", draw);
  model.on("change:chosen", draw);
  draw();
  const stopTelling = tellSight(model, el);
  return () => {
    stopTelling();
    model.off("change:channels", draw);
    model.off("change:chosen", draw);
  };
}

export default { render };

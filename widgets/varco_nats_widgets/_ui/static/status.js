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

// src/status/status.js
var SAY_EVERY = 3e3;
function render({ model, el }) {
  el.classList.add("varco", "varco-status");
  const line = element("div", "varco-status-line");
  const place = element("span", "", { role: "status" });
  const bar = element("progress", "", { "aria-label": "Messages looked at" });
  const reading = element("span");
  const stop = button("Stop", () => model.send({ do: "stop" }));
  const said = element("span", "varco-status-said", { role: "status" });
  const outcome = element("span", "varco-status-outcome", { role: "status" });
  line.append(place, bar, reading, said, outcome, stop);
  const news = element("div", "varco-status-news", { role: "status" });
  const notice = element("div", "varco-status-notice", { role: "status" });
  const error = element("div", "varco-status-error", { role: "alert" });
  const problem = element("span");
  const again = button("Try again", () => model.send({ do: "retry" }));
  error.append(problem, again);
  el.append(line, news, notice, error);
  let spoken = 0;
  function say(words) {
    const now = performance.now();
    if (!words) {
      spoken = 0;
      setText(said, "");
    } else if (!spoken) {
      spoken = now;
    } else if (now - spoken >= SAY_EVERY) {
      spoken = now;
      setText(said, words);
    }
  }
  function draw() {
    const { busy, done, total } = model.get("progress");
    setText(place, model.get("place"));
    bar.hidden = reading.hidden = stop.hidden = !busy;
    if (total) {
      bar.max = total;
      bar.value = done;
    } else {
      bar.removeAttribute("value");
    }
    setText(reading, busy ? model.get("reading") : "");
    say(busy ? model.get("reading") : model.get("run"));
    setText(outcome, model.get("outcome"));
    showText(news, model.get("news"));
    showText(notice, model.get("notice"));
    setText(problem, model.get("problem"));
    error.hidden = !problem.textContent;
    again.hidden = !model.get("retry");
  }
  const traits = ["place", "progress", "reading", "run", "outcome", "news", "notice", "problem"];
  traits.push("retry");
  draw();
  return listen(model, onChange(traits, draw));
}
var status_default = { render };
export {
  status_default as default
};

// Where one is, how far the reading is, and what went wrong, with buttons to stop and to try again.

import "./frame.css";
import "./status.css";
import { button, element, setText, showText } from "../common/dom.js";
import { listen, onChange } from "../common/model.js";

/**
 * @typedef {object} State
 * @property {string} place
 * @property {{busy: boolean, done: number, total: number}} progress
 * @property {string} reading
 * @property {string} notice
 * @property {string} problem
 * @property {boolean} retry whether to offer another attempt
 */

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  el.classList.add("varco", "varco-status");
  const line = element("div", "varco-status-line");
  const place = element("span", "", { role: "status" });
  const bar = element("progress", "", { "aria-label": "Messages looked at" });
  const reading = element("span");
  const stop = button("Stop", () => model.send({ do: "stop" }));
  line.append(place, bar, reading, stop);
  const notice = element("div", "varco-status-notice", { role: "status" });
  const error = element("div", "varco-status-error", { role: "alert" });
  const problem = element("span");
  const again = button("Try again", () => model.send({ do: "retry" }));
  error.append(problem, again);
  el.append(line, notice, error);

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
    showText(notice, model.get("notice"));
    setText(problem, model.get("problem"));
    error.hidden = !problem.textContent;
    again.hidden = !model.get("retry");
  }

  const traits = ["place", "progress", "reading", "notice", "problem", "retry"];
  draw();
  return listen(model, onChange(traits, draw));
}

export default { render };

// Where one is, how far the reading is, what happened and what went wrong, with buttons to stop and
// to try again.

import "./frame.css";
import "./status.css";
import { button, element, setText, showText } from "../common/dom.js";
import { listen, onChange } from "../common/model.js";

/**
 * @typedef {object} State
 * @property {string} place
 * @property {{busy: boolean, done: number, total: number}} progress
 * @property {string} reading
 * @property {string} run how far it is, where another bar shows that
 * @property {string} outcome what became of something, where that is shown elsewhere
 * @property {string} news what happened that stays worth knowing
 * @property {string} notice
 * @property {string} problem
 * @property {boolean} retry whether to offer another attempt
 */

const SAY_EVERY = 3000; // milliseconds

/** @type {import("@anywidget/types").Render<State>} */
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

  let spoken = 0; // when, in milliseconds

  /**
   * Has screen readers say how far it is, now and then.
   *
   * @param {string} words
   */
  function say(words) {
    const now = performance.now();
    if (!words) {
      spoken = 0;
      setText(said, "");
    } else if (!spoken) {
      spoken = now; // what ends soon needs no words
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

export default { render };

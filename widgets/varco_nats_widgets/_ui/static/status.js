// Where one is, how far the reading is, and what went wrong, with buttons to stop and to try again.

function render({ model, el }) {
  el.classList.add("varco-part", "varco-status");
  const line = element("div", "varco-status-line");
  const place = element("span", "", { role: "status" });
  const bar = element("progress", "", { "aria-label": "Messages looked at" });
  const reading = element("span", "");
  const stop = button("Stop", () => model.send({ do: "stop" }));
  line.append(place, bar, reading, stop);
  const notice = element("div", "varco-status-notice", { role: "status" });
  const error = element("div", "varco-status-error", { role: "alert" });
  const problem = element("span", "");
  const again = button("Try again", () => model.send({ do: "retry" }));
  error.append(problem, again);
  el.append(line, notice, error);

  function draw() {
    const { busy, done, total } = model.get("progress");
    place.textContent = model.get("place");
    bar.hidden = reading.hidden = stop.hidden = !busy;
    if (total) {
      bar.max = total;
      bar.value = done;
    } else {
      bar.removeAttribute("value");
    }
    reading.textContent = model.get("reading");
    notice.textContent = model.get("notice");
    notice.hidden = !notice.textContent;
    problem.textContent = model.get("problem");
    error.hidden = !problem.textContent;
    again.hidden = !model.get("retry");
  }

  const names = ["place", "progress", "reading", "notice", "problem", "retry"];
  for (const name of names) model.on(`change:${name}`, draw);
  draw();
  return () => {
    for (const name of names) model.off(`change:${name}`, draw);
  };
}

export default { render };

// The model's panel: retrain, follow, cancel; every round with what it reached, and the way back to it.

import { rounds } from "./api.js";
import { end, number, signed } from "./numbers.js";

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

export class ModelPanel {
  constructor(root, report) {
    this.root = root;
    this.report = report;
    this.shown = "";
    this.busy = false;
  }

  async act(body) {
    if (this.busy) return;
    this.busy = true;
    try {
      this.render(await rounds(body));
    } catch (problem) {
      this.report(problem.message);
    }
    this.busy = false;
  }

  button(text, body, className = "") {
    const made = element("button", text, className);
    made.type = "button";
    made.addEventListener("click", () => this.act(body));
    return made;
  }

  render(status, validation = this.validation) {
    this.validation = validation;
    const text = JSON.stringify([status.rounds, status.training, status.stopping, status.progress, status.reviewed > 0]);
    if (text === this.shown) return;
    this.shown = text;
    const focused = this.root.contains(document.activeElement) ? document.activeElement.textContent : null;
    const parts = [];
    const last = status.rounds.at(-1);
    if (status.training) parts.push(...this.training(last, status));
    else if (last.status !== "done") parts.push(...this.stopped(last));
    else {
      const retrain = this.button("Retrain", { action: "start" }, "primary");
      retrain.id = "retrain";
      retrain.disabled = status.reviewed === 0;
      parts.push(retrain, element("p", status.reviewed ? "Continues from the present weights, on all masks and the images without one." :
        "Accept or correct some images first.", "quiet"));
    }
    if (!this.validation)
      parts.push(element("p", "The run holds no validation cases (it had fewer than ten masks, or of fewer than three groups), so no Dice is claimed.", "quiet"));
    parts.push(this.curve(status.rounds), this.table(status));
    this.root.replaceChildren(...parts.filter(Boolean));
    if (focused) [...this.root.querySelectorAll("button")].find((b) => b.textContent === focused)?.focus();
  }

  training(last, { progress, stopping }) {
    const meter = element("progress");
    meter.max = last.iterations;
    meter.value = progress?.step ?? 0;
    meter.setAttribute("aria-label", `Training of round ${last.number}`);
    const said = stopping ? "stopping, saves first…" : progress?.step === last.iterations ? "measuring…" : progress?.step
      ? `step ${progress.step} of ${last.iterations}, loss ${progress.loss?.toFixed(3) ?? "–"}` +
        (progress.dice === null ? "" : `, Dice ${number(progress.dice)}`)
      : "starting…";
    const cancel = this.button("Cancel", { action: "cancel" });
    cancel.disabled = stopping;
    return [element("p", `Round ${last.number} trains: ${said}`, "live"), meter, cancel];
  }

  stopped(last) {
    const why = last.status === "failed" ? `Round ${last.number} failed: ${last.reason}` : `Round ${last.number} was stopped; it is saved.`;
    return [element("p", why, "live"), this.button("Resume", { action: "resume" }, "primary"), this.button("Discard", { action: "discard" })];
  }

  table(status) {
    const list = element("ol", "", "rounds");
    for (const one of status.rounds.filter((r) => r.status === "done")) {
      const row = element("li");
      if (one.current) row.className = "current";
      row.append(element("strong", one.number ? `Round ${one.number}` : "Start"), element("span", `${one.masks} masks`));
      if (one.dice !== null) row.append(element("span", `Dice ${number(one.dice)}`));
      if (one.verdict)
        row.append(element("span", `${one.verdict} (${signed(one.difference)}${one.low === null ? "" :
          `, 95 % ${end(one.low)} to ${end(one.high)}`})`, `verdict ${one.verdict.split(" ")[0]}`));
      if (one.current) row.append(element("span", "in use", "quiet"));
      else if (!status.training) {
        const use = this.button("Use this", { action: "use", number: one.number });
        use.setAttribute("aria-label", `Use the model of ${one.number ? `round ${one.number}` : "the start"}`);
        row.append(use);
      }
      list.append(row);
    }
    return list;
  }

  curve(all) {
    const points = all.filter((r) => r.status === "done" && r.dice !== null);
    if (points.length < 2) return null;
    const space = "http://www.w3.org/2000/svg";
    const [wide, high, pad] = [220, 90, 24];
    const xs = points.map((p) => p.masks);
    const ys = points.map((p) => p.dice);
    const span = (values, at) => (at - Math.min(...values)) / (Math.max(...values) - Math.min(...values) || 1);
    const place = (p) => [pad + span(xs, p.masks) * (wide - 2 * pad), high - pad - span(ys, p.dice) * (high - 2 * pad)];
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", "Dice against masks: " + points.map((p) => `${p.masks} masks ${number(p.dice)}`).join(", "));
    const line = document.createElementNS(space, "polyline");
    line.setAttribute("points", points.map((p) => place(p).join(",")).join(" "));
    svg.append(line);
    for (const p of points) {
      const [x, y] = place(p);
      const dot = document.createElementNS(space, "circle");
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      dot.setAttribute("r", p.current ? 4.5 : 3);
      const said = document.createElementNS(space, "text");
      said.setAttribute("x", x);
      said.setAttribute("y", y - 7);
      said.textContent = number(p.dice);
      const masks = document.createElementNS(space, "text");
      masks.setAttribute("x", x);
      masks.setAttribute("y", high - 6);
      masks.textContent = p.masks;
      svg.append(dot, said, masks);
    }
    return svg;
  }
}

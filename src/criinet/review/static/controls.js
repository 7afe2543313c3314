// The controls around the image: tools, brush and class, the theme, and what this browser remembers of them.

import { fetchProbability } from "./cases.js";
import { redo, undo } from "./drawing.js";
import { $, state, view } from "./state.js";
import { closePolygon } from "./strokes.js";

export const TOOLS = [
  { name: "brush", label: "Brush", key: "b" },
  { name: "eraser", label: "Eraser", key: "e" },
  { name: "smart", label: "Smart brush", key: "s", title: "Paints up to the model's own edge" },
  { name: "polygon", label: "Polygon", key: "p", title: "Click corners; Enter, a double click or the first corner closes it, Escape drops it" },
  { name: "fill", label: "Fill", key: "f", title: "Gives a connected region the chosen class" },
  { name: "pan", label: "Move", key: "v", title: "Drags the image; Space does it with any tool" },
];

export function setTool(name) {
  if (name !== "polygon") closePolygon();
  state.tool = name;
  for (const tool of TOOLS) $(`tool-${tool.name}`).setAttribute("aria-pressed", String(tool.name === name));
  view.canvas.dataset.tool = name;
  $("cursor").hidden = true;
  fetchProbability();
}

export function setSize(size) {
  state.size = Math.max(1, Math.min(200, Math.round(size)));
  $("size").value = state.size;
  $("size-value").textContent = `${state.size} px`;
}

export function setClass(index) {
  if (index < 1 || index >= state.about.classes.length) return;
  state.class = index;
  for (const input of $("classes").querySelectorAll("input")) input.checked = Number(input.value) === index;
  fetchProbability();
}

function button(id, text, key, act, title) {
  const made = document.createElement("button");
  made.type = "button";
  made.id = id;
  made.append(text);
  if (title) made.title = title;
  if (key) {
    const hint = document.createElement("kbd");
    hint.textContent = key;
    made.append(" ", hint);
  } else made.setAttribute("aria-label", title);
  made.addEventListener("click", act);
  return made;
}

export function buildToolbar() {
  const tools = TOOLS.map((tool) => {
    const made = button(`tool-${tool.name}`, tool.label, tool.key.toUpperCase(), () => setTool(tool.name), tool.title);
    made.setAttribute("aria-pressed", "false");
    return made;
  });
  const size = document.createElement("label");
  size.className = "size";
  size.innerHTML = 'Size <input id="size" type="range" min="1" max="200"> <output id="size-value" for="size"></output>';
  $("toolbar").append(...tools, size, button("undo", "Undo", "Z", undo), button("redo", "Redo", "Y", redo),
    button("zoom-in", "+", "", () => state.current && view.zoom(1.5), "Zoom in"),
    button("zoom-out", "−", "", () => state.current && view.zoom(1 / 1.5), "Zoom out"),
    button("zoom-fit", "Fit", "0", () => state.current && view.fit(), "Show the whole image"));
  $("size").addEventListener("input", () => setSize(Number($("size").value)));
}

export function buildClasses() {
  state.about.classes.forEach((one, index) => {
    if (index === 0) return;
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "radio";
    input.name = "class";
    input.value = index;
    input.checked = index === 1;
    input.addEventListener("change", () => setClass(index));
    const chip = document.createElement("i");
    chip.style.setProperty("--color", `rgb(${one.color.join(" ")})`);
    label.append(input, chip, one.name);
    if (index < 10) {
      const key = document.createElement("kbd");
      key.textContent = index;
      label.append(" ", key);
    }
    $("classes").append(label);
  });
}

export function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
  view.all();
}

export function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser that keeps nothing forgets the setting: no harm.
  }
}

export function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

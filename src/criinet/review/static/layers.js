// The layers above the image, and the window through which its grays are seen.

import { $, view } from "./state.js";

export const LAYERS = [
  { name: "mask", label: "Mask", key: "m" },
  { name: "model", label: "Model (stripes \\)", key: "d", plane: "refined" },
  { name: "coarse", label: "Coarse (stripes /)", key: "c", plane: "coarse" },
  { name: "uncertainty", label: "Uncertainty", key: "u", plane: "uncertainty" },
];

export function setLayer(name, shown) {
  if ($(`layer-${name}`).disabled) return;
  view.shown[name] = shown;
  $(`layer-${name}`).checked = shown;
  view.all();
}

export function applyWindow() {
  view.setWindow(Number($("window").value), Number($("level").value));
}

export function buildLayers() {
  for (const layer of LAYERS) {
    const row = document.createElement("div");
    row.className = "layer";
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.id = `layer-${layer.name}`;
    box.checked = view.shown[layer.name];
    box.addEventListener("change", () => setLayer(layer.name, box.checked));
    const key = document.createElement("kbd");
    key.textContent = layer.key.toUpperCase();
    label.append(box, layer.label, " ", key);
    const slider = document.createElement("input");
    slider.type = "range";
    slider.min = 0.05;
    slider.max = 1;
    slider.step = 0.05;
    slider.value = view.opacity[layer.name];
    slider.setAttribute("aria-label", `Opacity of ${layer.label}`);
    slider.addEventListener("input", () => {
      view.opacity[layer.name] = Number(slider.value);
      view.all();
    });
    row.append(label, slider);
    $("layers").append(row);
  }
}

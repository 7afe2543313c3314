// The keys: what each does, the list of them, and who has the focus.

import { following, moveBy, previous } from "./cases.js";
import { setClass, setSize, setTool, TOOLS } from "./controls.js";
import { redo, undo } from "./drawing.js";
import { LAYERS, setLayer } from "./layers.js";
import { decide, save } from "./saving.js";
import { $, state, view } from "./state.js";
import { closePolygon, tooFewCorners } from "./strokes.js";

const BOXES = "[type=checkbox], [type=radio]";
const SLICE_KEYS = { pageup: -1, ",": -1, pagedown: 1, ".": 1 };

export const ACTIONS = {
  enter: () => tooFewCorners() || closePolygon() || save(),
  escape: () => {
    state.points = [];
    closePolygon();
  },
  backspace: () => state.points.length && undo(),
  k: () => decide("skipped"),
  r: () => decide("rejected"),
  arrowright: following,
  arrowleft: previous,
  z: undo,
  y: redo,
  "[": () => setSize(state.size * 0.8 - 0.5),
  "]": () => setSize(state.size * 1.25 + 0.5),
  "+": () => view.zoom(1.5),
  "=": () => view.zoom(1.5),
  "-": () => view.zoom(1 / 1.5),
  0: () => state.current && view.fit(),
  "?": () => $("help").showModal(),
};
export const KEYS = [
  ["Enter", "accept the mask, or save the correction, and open the next"], ["K", "skip: ask again later"],
  ["R", "reject: leave the image out of training"], ["← →", "previous, next"], ["↑ ↓", "along the list, from one of its rows"], ["Z, Y", "undo, redo (also with Ctrl)"],
  ...TOOLS.map((tool) => [tool.key.toUpperCase(), tool.label.toLowerCase()]), ["[ ]", "smaller, larger brush"],
  [", . PgUp PgDn", "previous, next slice of a volume; also the wheel with Shift"], ["1 … 9", "class"], ["Enter, Backspace, Esc", "close a polygon, take back a corner, drop it"],
  ...LAYERS.map((layer) => [layer.key.toUpperCase(), `show or hide: ${layer.label.toLowerCase()}`]),
  ["+ − 0", "zoom in, out, fit; also the wheel or two fingers"], ["Space", "hold to drag the image"], ["?", "this list"],
];

export function onKey(event) {
  const key = event.key.toLowerCase();
  const typing = event.target.matches?.(`input:not(${BOXES}), select, textarea`);
  const bracket = ["[", "]"].includes(key); // Many keyboards have them on Alt, some systems tell AltGr as Ctrl with Alt.
  if (document.querySelector("dialog[open]") || (event.altKey && !bracket) || event.metaKey) return;
  if (event.ctrlKey && !bracket) {
    if (key === "z" && !typing) (event.preventDefault(), event.shiftKey ? redo() : undo());
    if (key === "y" && !typing) (event.preventDefault(), redo());
    if (key === "s") (event.preventDefault(), save());
    return;
  }
  if (typing && !(event.target.type === "range" && !key.startsWith("arrow"))) return;
  if (key === " ") {
    if (event.target.matches?.(`button, ${BOXES}`)) return;
    state.spaceHeld = true;
    view.canvas.dataset.tool = "pan";
    return event.preventDefault();
  }
  if (key === "enter" && event.target.matches?.("button")) return;
  if (key.startsWith("arrow") && event.target.matches?.("[type=radio]")) return;
  if (event.repeat && ["enter", "k", "r"].includes(key)) return event.preventDefault();
  const tool = TOOLS.find((t) => t.key === key);
  const layer = LAYERS.find((l) => l.key === key);
  if (tool) setTool(tool.name);
  else if (layer) setLayer(layer.name, !view.shown[layer.name]);
  else if (/^[1-9]$/.test(key)) setClass(Number(key));
  else if (key in SLICE_KEYS && state.current?.slices > 1) moveBy(SLICE_KEYS[key]);
  else if (key in ACTIONS) ACTIONS[key]();
  else return;
  event.preventDefault();
}

// Keys speak to the image again once the mouse or a finger has used a button; who came there by Tab stays there.
export function releaseFocus() {
  const used = document.activeElement;
  if (used.matches(`button, ${BOXES}`) && !used.matches(":focus-visible")) view.canvas.focus({ preventScroll: true });
}

// Drawing by mouse, pen and fingers, with zoom and pan; undo and redo.

import { moveBy, moving, showSlice } from "./cases.js";
import { $, state, view } from "./state.js";
import { beginChange, closePolygon, endStroke, paint, tap, tooFewCorners } from "./strokes.js";
import { describe, drawnOn, keepDraft } from "./work.js";

const NOTCH = 50;

export function undo() {
  if (!state.current || state.stroke) return;
  if (state.points.length) {
    state.points.pop();
    return view.setTrace(state.points);
  }
  after(state.current.history.undo());
}

export function redo() {
  if (state.current && !state.stroke) after(state.current.history.redo());
}

function after(step) {
  if (!step) return;
  if (step.slice === state.current.shown) view.paintMask(step.rect);
  else showSlice(step.slice);
  drawnOn(step.slice);
  state.current.dirty = true;
  keepDraft();
  describe();
}

function place(event) {
  const box = view.canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

view.canvas.addEventListener("pointerdown", (event) => {
  if (!state.current || moving()) return;
  const at = place(event);
  state.pointers.set(event.pointerId, at);
  view.canvas.setPointerCapture(event.pointerId);
  if (state.pointers.size === 2) return startPinch();
  const point = view.toImage(at.x, at.y);
  if (event.button === 1 || event.button === 2 || state.spaceHeld || state.tool === "pan") state.drag = at;
  else if (event.button !== 0) return;
  else if (["polygon", "fill"].includes(state.tool)) state.tap = point;
  else {
    beginChange();
    state.stroke = { last: null, rect: null, kept: Date.now() };
    paint(point);
  }
  event.preventDefault();
  view.canvas.focus({ preventScroll: true });
});

view.canvas.addEventListener("pointermove", (event) => {
  moveCursor(event);
  if (!state.pointers.has(event.pointerId)) return;
  const at = place(event);
  const before = state.pointers.get(event.pointerId);
  state.pointers.set(event.pointerId, at);
  if (state.pinch) return pinch();
  if (state.drag) view.pan(at.x - before.x, at.y - before.y);
  else if (state.stroke)
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      const p = place(one);
      paint(view.toImage(p.x, p.y));
    }
});

function lift(event) {
  state.pointers.delete(event.pointerId);
  if (state.pointers.size < 2) state.pinch = null;
  if (state.pointers.size > 0) return;
  if (state.tap && event.type === "pointerup") tap(state.tap);
  endStroke();
  state.drag = null;
}
for (const kind of ["pointerup", "pointercancel"]) view.canvas.addEventListener(kind, lift);
view.canvas.addEventListener("pointerleave", () => ($("cursor").hidden = true));
view.canvas.addEventListener("dblclick", () => {
  if (!state.points.length) return;
  view.setTrace((state.points = state.points.slice(0, -1))); // Its second click made the same corner again.
  if (!tooFewCorners()) closePolygon();
});
view.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
view.canvas.addEventListener("wheel", (event) => {
  if (!state.current) return;
  event.preventDefault();
  if (event.shiftKey && state.current.slices > 1) return turnWheel(event);
  const at = place(event);
  view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), at.x, at.y);
  moveCursor(event);
}, { passive: false });

// One slice for each notch; a touchpad, which has none, adds up to them. With Shift some systems scroll sideways.
function turnWheel(event) {
  state.wheeled += (event.deltaY || event.deltaX) * (event.deltaMode ? 40 : 1);
  if (Math.abs(state.wheeled) < NOTCH) return;
  moveBy(Math.sign(state.wheeled));
  state.wheeled = 0;
}

// Two fingers zoom and move; what the first had begun to paint is taken back.
function startPinch() {
  if (state.stroke) {
    view.paintMask(state.current.history.abort(state.stroke.rect));
    drawnOn(state.current.shown);
    state.stroke = null;
  }
  state.drag = state.tap = null;
  const [a, b] = state.pointers.values();
  state.pinch = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
}

function pinch() {
  const [a, b] = state.pointers.values();
  const now = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
  view.pan(now.x - state.pinch.x, now.y - state.pinch.y);
  view.zoom(now.apart / state.pinch.apart, now.x, now.y);
  state.pinch = now;
}

function moveCursor(event) {
  const cursor = $("cursor");
  const round = ["brush", "eraser", "smart"].includes(state.tool) && state.current && !state.spaceHeld;
  cursor.hidden = !round || event.pointerType === "touch";
  if (cursor.hidden) return;
  const at = place(event);
  const wide = Math.max(2, state.size * view.pixel);
  const high = Math.max(2, state.size * view.pixel * view.aspect);
  cursor.style.width = `${wide}px`;
  cursor.style.height = `${high}px`;
  cursor.style.transform = `translate(${at.x - wide / 2}px, ${at.y - high / 2}px)`;
}

// Strokes, fills and polygons: each changes the mask of the slice on view, and can be undone.

import { along, disc, fill, polygon, snappedDisc, union } from "./draw.js";
import { setLayer } from "./layers.js";
import { tell, withdraw } from "./messages.js";
import { state, view } from "./state.js";
import { describe, drawnOn, keepDraft, touch } from "./work.js";

const CLOSE = 10;

function stamp(x, y) {
  const { shown: { mask, probability: known }, width, height } = state.current;
  const radius = state.size / 2;
  if (state.tool === "eraser") return disc(mask, width, height, x, y, radius, 0);
  const probability = state.tool === "smart" && known.get(`probability-${state.class}`);
  if (probability) return snappedDisc(mask, width, height, x, y, radius, state.class, probability);
  return disc(mask, width, height, x, y, radius, state.class);
}

export function paint(point) {
  const { stroke } = state;
  const rect = stroke.last ? along(stroke.last, point, state.size / 2, stamp) : stamp(point.x, point.y);
  stroke.last = point;
  stroke.rect = union(stroke.rect, rect);
  view.paintMask(rect);
  if (Date.now() - stroke.kept > 1000) {
    stroke.kept = Date.now();
    drawnOn(state.current.shown);
    keepDraft();
  }
}

function changed(rect) {
  const { current } = state;
  current.history.commit(rect);
  if (!rect) return;
  view.paintMask(rect);
  drawnOn(current.shown);
  current.dirty = true;
  current.strokes += 1;
  touch();
  keepDraft();
  describe();
}

export function endStroke() {
  const { stroke } = state;
  state.stroke = state.tap = null;
  if (stroke) changed(stroke.rect);
}

// What is drawn is seen: before, its layer is shown.
export function beginChange() {
  if (!view.shown.mask) setLayer("mask", true);
  state.current.history.begin(state.current.shown);
}

// Fill and the corners of polygons wait until the finger is lifted: a second one may make it a pinch.
export function tap(point) {
  const { current, points } = state;
  if (state.tool === "fill") {
    beginChange();
    const { width, height } = current;
    changed(fill(current.shown.mask, width, height, point.x, point.y, state.class));
  } else if (points.length > 2 && near(point, points[0])) closePolygon();
  else view.setTrace((state.points = [...points, point]));
}

const near = (a, b) => Math.hypot(a.x - b.x, (a.y - b.y) * view.aspect) * view.pixel < CLOSE;

// Whether there are corners, but not enough for a polygon; that is said.
export function tooFewCorners() {
  const few = state.points.length > 0 && state.points.length < 3;
  if (few) state.fewCorners = tell("A polygon needs three corners: click another one, or drop it with Escape.");
  return few;
}

export function closePolygon() {
  const { current, points } = state;
  state.points = [];
  view.setTrace(null);
  withdraw(state.fewCorners);
  if (!current || points.length < 3) return false;
  beginChange();
  changed(polygon(current.shown.mask, current.width, current.height, points, state.class));
  return true;
}

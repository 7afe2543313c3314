// The page: one case at a time, drawn on, saved, and followed by the next.

import * as api from "./api.js";
import * as drafts from "./drafts.js";
import { along, differing, disc, fill, polygon, snappedDisc, union } from "./draw.js";
import { History } from "./history.js";
import { ModelPanel } from "./model.js";
import { number as shareOf } from "./numbers.js";
import { encodeGray } from "./png.js";
import { Queue, statusWord, TODO } from "./queue.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const TOOLS = [
  { name: "brush", label: "Brush", key: "b" },
  { name: "eraser", label: "Eraser", key: "e" },
  { name: "smart", label: "Smart brush", key: "s", title: "Paints up to the model's own edge" },
  { name: "polygon", label: "Polygon", key: "p", title: "Click corners; Enter, a double click or the first corner closes it, Escape drops it" },
  { name: "fill", label: "Fill", key: "f", title: "Gives a connected region the chosen class" },
  { name: "pan", label: "Move", key: "v", title: "Drags the image; Space does it with any tool" },
];
const LAYERS = [
  { name: "mask", label: "Mask", key: "m" },
  { name: "model", label: "Model (stripes \\)", key: "d", plane: "refined" },
  { name: "coarse", label: "Coarse (stripes /)", key: "c", plane: "coarse" },
  { name: "uncertainty", label: "Uncertainty", key: "u", plane: "uncertainty" },
];
const BOXES = "[type=checkbox], [type=radio]";
const SLICE_KEYS = { pageup: -1, ",": -1, pagedown: 1, ".": 1 };
const MOST_SLICES = 24;
const SAVED = new Set(["accepted", "corrected"]);
const NOTCH = 50;
const CLOSE = 10;
const AWAY_AFTER = 60;
const POLL = 1500;

const view = new View($("canvas"));
const queue = new Queue($("queue"), $("queue-empty"), (name) => open(name));
const panel = new ModelPanel($("model"), (text) => tell(text));
const state = {
  about: null, status: null, current: null, tool: "brush", size: 12, class: 1, pointers: new Map(), stroke: null,
  tap: null, points: [], told: null, fewCorners: null, spaceHeld: false, polling: null, saving: null, wheeled: 0,
  wanted: null, visited: [], unshown: null, lost: null,
};

// ---- messages -------------------------------------------------------------------------------------------------------

// Returns what `withdraw` takes the message back by, unless another one is shown by then.
function tell(text, actions = []) {
  $("message").hidden = !text;
  $("message-text").textContent = text;
  const close = [["Close", () => tell("")]];
  $("message-actions").replaceChildren(...[...actions, ...close].map(([label, act]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => {
      tell("");
      act();
    });
    return button;
  }));
  return (state.told = {});
}

function withdraw(told) {
  if (state.told === told) tell("");
}

function empty(title, text, [label, act] = []) {
  $("empty").hidden = !title;
  $("empty-title").textContent = title;
  $("empty-text").textContent = text;
  $("empty-act").hidden = !label;
  $("empty-act").textContent = label;
  $("empty-act").onclick = act;
}

// ---- one case -------------------------------------------------------------------------------------------------------

const draftKey = (name) => `${state.about.drafts}/${name}`;

// With `quietly` the case is only shown anew if nobody draws on it or saves it by then. `number` is the slice to show
// first; without it, and without a draft, it is the one of which the model is least sure. With `onward` a case that
// somebody has decided meanwhile is passed over.
async function open(name, { quietly = false, number = null, onward = false } = {}) {
  endStroke();
  if (!quietly) closePolygon();
  const wanted = (state.wanted = { name });
  if (!name) return finished();
  tell("");
  await putAside();
  empty("", "");
  $("loading").hidden = false;
  try {
    const detail = await api.detail(name);
    const current = {
      ...detail, kept: new Map(), drawn: new Map(), history: new History(detail.width), seconds: 0, touched: Date.now(),
      dirty: false, strokes: 0, left: false,
    };
    queue.update(detail);
    if (onward && !TODO.has(detail.status) && state.wanted === wanted) return next(name);
    const kept = await drafts.get(draftKey(name)).catch(() => null);
    const draft = fitting(kept, current);
    const at = number ?? draft?.at ?? detail.slice;
    const [first, ...drafted] = await Promise.all(
      [at < detail.slices ? at : detail.slice, ...(draft?.slices.keys() ?? [])].map((one) => slice(current, one)));
    if (state.wanted !== wanted) return;
    if (!quietly || !busy()) show(current, first, draft, drafted);
    if (kept && !draft) tell("Unsaved strokes are kept here, but this image has another size now: they do not fit it.");
    foresee(name);
  } catch (problem) {
    if (state.wanted !== wanted) return;
    if (problem.status === 412) return open(name, { quietly, number, onward });
    hide(name);
    const { version, status } = queue.find(name) ?? {};
    state.unshown = { name, version, status, seconds: 0, round: roundInUse(), problem };
    empty("This image cannot be shown", problem.message);
  }
  if (state.wanted === wanted) $("loading").hidden = true;
  describe();
}

const next = (name) => open(queue.nextToReview(name), { onward: true });

// Let the server predict the next case while this one is looked at; of a volume that takes a while.
function foresee(name) {
  const next = queue.nextToReview(name);
  if (next) api.detail(next).catch(() => {});
}

// Whether a case is shown, and no other one was asked for.
const onView = (current) => asked() === current && state.wanted.name === current.name;

// The case that is shown, or cannot be shown, but be decided.
const asked = () => state.current ?? state.unshown;

const busy = () => state.saving || state.stroke || state.points.length > 0 || state.current?.dirty;

function show(current, first, draft, drafted) {
  endStroke();
  state.current = current;
  state.unshown = null;
  visit(current.name);
  state.points = [];
  view.setTrace(null);
  state.wheeled = 0;
  $("slice").max = current.slices;
  if (draft) takeUp(draft, drafted);
  showSlice(current.drawn.get(first.number) ?? first);
  view.fit();
  queue.mark(current.name);
  for (const layer of LAYERS) $(`layer-${layer.name}`).disabled = layer.plane && !current.planes.includes(layer.plane);
}

// A slice of a case with its layers. Those that were drawn on are kept, of the others the latest.
async function slice(current, number) {
  const { kept, drawn } = current;
  if (drawn.has(number)) return drawn.get(number);
  const found = kept.get(number) ?? fetchSlice(current, number);
  kept.delete(number);
  kept.set(number, found);
  found.catch(() => kept.delete(number));
  if (kept.size > MOST_SLICES) kept.delete(kept.keys().next().value);
  return found;
}

async function fetchSlice(current, number) {
  const planes = {};
  const wanted = ["mask", ...LAYERS.map((layer) => layer.plane)].filter((plane) => current.planes.includes(plane));
  const [image] = await Promise.all([
    api.image(current.name, number),
    ...wanted.map(async (plane) => (planes[plane] = await api.plane(current.name, plane, number, current.round))),
  ]);
  const before = planes.mask ?? planes.refined;
  return { number, image, planes, before, mask: before.slice(), edits: 0, probability: new Map() };
}

function showSlice(shown) {
  const { current } = state;
  current.shown = shown;
  view.load(shown.image, shown.mask, shown.planes, state.about.classes.map((c) => c.color), current.aspect);
  applyWindow();
  placeSlice(shown.number);
  fetchProbability();
  for (const next of [shown.number + 1, shown.number - 1])
    if (next >= 0 && next < current.slices) slice(current, next).catch(() => {});
}

function placeSlice(number) {
  const { current } = state;
  const place = `slice ${number + 1} of ${current.slices}`;
  current.at = number;
  $("slice").value = number + 1;
  $("slice").setAttribute("aria-valuetext", place);
  $("slice-place").textContent = place;
  view.canvas.ariaBusy = String(moving());
}

async function moveTo(number) {
  const { current } = state;
  if (!current || number === current.at || number < 0 || number >= current.slices) return;
  endStroke();
  closePolygon();
  touch();
  placeSlice(number);
  try {
    const wanted = await slice(current, number);
    if (state.current === current && current.at === number) showSlice(wanted);
  } catch (problem) {
    if (state.current !== current || current.at !== number) return;
    if (problem.status !== 412) placeSlice(current.shown.number);
    explain(problem);
  }
}

const moveBy = (step) => state.current && moveTo(state.current.at + step);
const moving = () => state.current.at !== state.current.shown.number;

// Under another model than a case was opened with, it is opened anew, with what was drawn on it.
async function explain(problem) {
  if (problem.status === 412) await open(state.current.name, { number: state.current.at });
  tell(problem.message);
}

function hide(name) {
  state.current = state.unshown = null;
  view.clear();
  queue.mark(name);
  visit(name);
}

function visit(name) {
  const { visited } = state;
  if (visited.at(-1) === null) visited.pop();
  if (visited.at(-1) !== name) visited.push(name);
}

// Back to the case that was looked at before, or to the one above in the queue.
function previous() {
  const before = state.visited.at(-2) ?? queue.neighbour(asked()?.name, -1);
  if (!before) return;
  state.visited.pop();
  open(before);
}

function following() {
  const after = queue.neighbour(asked()?.name, 1);
  if (after) open(after);
}

function finished() {
  hide(null);
  $("loading").hidden = true;
  const nothing = state.status && state.status.to_review === 0;
  const skipped = queue.cases.filter((one) => one.status === "skipped");
  const alone = state.about.left_alone;
  if (nothing)
    empty("There is nothing to review", alone
      ? `Every image has a mask. ${alone} of them are masks that this run did not train on; train anew to learn from them.`
      : "Every image has a mask already. Put images without one into images/ and start the page again.");
  else if (skipped.length)
    empty(skipped.length === 1 ? "1 image is still skipped" : `${skipped.length} images are still skipped`,
      "All others are reviewed.", ["Open it", () => open(skipped[0].name)]);
  else empty("Every image is reviewed", "Press Retrain to learn from the masks, or look at them again under Show.");
  describe();
}

// A draft if there is one and its slices are slices of the case.
function fitting(draft, { slices, width, height }) {
  const fits = ([number, mask]) => number < slices && mask.length === width * height;
  return draft?.slices && [...draft.slices].every(fits) ? draft : null;
}

function takeUp(draft, drafted) {
  const { current } = state;
  for (const one of drafted) {
    current.history.begin(one);
    one.mask.set(draft.slices.get(one.number));
    current.history.commit({ x0: 0, y0: 0, x1: current.width, y1: current.height });
    drawnOn(one);
  }
  current.seconds = draft.seconds;
  current.dirty = true;
  const changed = draft.version !== current.version;
  if (changed)
    tell("Your unsaved strokes are back, but the case was saved or its image changed in the meantime. Undo removes them.");
}

function drawnOn(one) {
  one.edits = differing(one.mask, one.before);
  state.current.drawn.set(one.number, one);
  state.current.kept.delete(one.number);
}

const edited = (current) => [...current.drawn.values()].filter((one) => one.edits > 0);

async function keepDraft(current = state.current) {
  if (!current) return;
  try {
    const slices = new Map(edited(current).map((one) => [one.number, one.mask]));
    const { version, seconds, shown } = current;
    const draft = { slices, at: shown.number, version, seconds, moment: Date.now() };
    await drafts.put(draftKey(current.name), draft);
    current.drafted = true;
  } catch {
    tell("This browser keeps no drafts (a private window?): unsaved strokes are lost if it closes.");
  }
}

async function putAside() {
  if (state.current?.dirty) await keepDraft();
}

function describe() {
  const { current } = state;
  const one = asked();
  const changed = current?.dirty && edited(current).length > 0;
  $("case-name").textContent = $("case-name").title = one?.name ?? "";
  $("case-state").textContent = one ? stateWord(one, changed) : "";
  $("save-label").textContent = changed ? "Save correction" : "Accept";
  for (const id of ["reject", "next"]) $(id).disabled = !one;
  $("previous").disabled = !one && state.visited.length < 2;
  $("skip").disabled = !TODO.has(one?.status);
  $("save").disabled = !current;
  $("slices").hidden = !(current?.slices > 1);
  $("undo").disabled = !current?.history.done.length;
  $("redo").disabled = !current?.history.undone.length;
}

function stateWord(one, changed) {
  if (state.saving === one) return "saving…";
  if (one.left && SAVED.has(one.status)) return "saved";
  if (changed) return one.status === "rejected" ? "rejected, with unsaved strokes" : "not saved yet";
  return statusWord(one.status) ?? "";
}

// Seconds of work: the time between two actions on a case counts, longer pauses do not.
function touch() {
  const { current } = state;
  if (!current) return;
  const now = Date.now();
  current.seconds += Math.min(AWAY_AFTER, (now - current.touched) / 1000);
  current.touched = now;
}

async function save(current = state.current, version = current?.version) {
  if (!current || current.left || state.saving || state.stroke || tooFewCorners()) return;
  closePolygon();
  touch();
  state.saving = current;
  describe();
  const { strokes } = current;
  const drawn = edited(current);
  const sent = drawn.length ? drawn : [current.shown];
  const changedOf = (count, number) => {
    const one = current.drawn.get(number);
    return one ? differing(one.mask, one.planes.refined) : count;
  };
  const changed = current.changed.map(changedOf).reduce((sum, count) => sum + count, 0);
  const untouched = !drawn.length && !(current.planes.includes("mask") && current.status === "corrected");
  try {
    const png = await encodeGray(sent.map((one) => one.mask), current.width, current.height);
    const summary = await api.saveMask(current.name, png, sent.map((one) => one.number), {
      action: untouched ? "accepted" : "corrected", version, by: $("by").value,
      seconds: current.seconds.toFixed(1), changed, round: current.round,
    });
    decided(current, summary);
    current.seconds = 0;
    if (current.strokes === strokes && !(state.stroke && state.current === current)) {
      current.dirty = false;
      current.left = true;
      drafts.remove(draftKey(current.name)).catch(() => {});
      if (onView(current)) next(current.name);
    } else {
      await keepDraft(current);
      if (onView(current)) tell("Saved, but not what you drew in the meantime: it is kept here. Save again.");
      else tell(`${current.name} is saved, but not what you drew on it in the meantime: open it and save again.`);
    }
  } catch (problem) {
    if (problem.status === 409) conflict(current, problem.message, (newer) => save(current, newer));
    else if (problem.status === 412 && onView(current)) explain(problem);
    else unsaved(current, problem.message, [["Try again", () => save(current, version)]]);
  }
  state.saving = null;
  describe();
}

async function decide(action, current = asked(), version = current?.version) {
  if (!current || current.left || state.saving) return;
  endStroke();
  closePolygon();
  touch();
  state.saving = current;
  describe();
  try {
    const body = { action, version, by: $("by").value, seconds: current.seconds, round: current.round };
    decided(current, await api.decide(current.name, body));
    if (current.dirty) await keepDraft(current);
    current.dirty = false;
    current.left = true;
    if (onView(current)) next(current.name);
  } catch (problem) {
    const again = (newer) => decide(action, current, newer);
    if (problem.status === 409 && current === state.unshown) conflictUnseen(current, problem.message, again);
    else if (problem.status === 409) conflict(current, problem.message, again);
    else unsaved(current, problem.message, [["Try again", () => again(version)]]);
  }
  state.saving = null;
  describe();
}

function decided(current, summary) {
  Object.assign(current, summary);
  queue.update(summary);
  state.status.decisions += 1; // Known here: the list need not be asked for.
  poll();
}

// What can be done about a case that was not saved is offered while it is on view; once left, it has its draft.
function unsaved(current, message, actions = []) {
  if (onView(current)) tell(message, actions);
  else tell(`${message} ${current.name} is not saved: open it to go on.`);
}

function conflict(current, message, again) {
  const load = async () => {
    current.dirty = false;
    await drafts.remove(draftKey(current.name)).catch(() => {});
    open(current.name, { number: current.at });
  };
  unsaved(current, message, [
    ["Load theirs", load],
    ["Save mine over it", async () => {
      try {
        const newer = await api.detail(current.name);
        if (!onView(current)) return unsaved(current, "Another case was opened in the meantime.");
        if (!sameSize(newer, current))
          return unsaved(current, "The image has another size now, which what you drew does not fit.", [["Load it", load]]);
        current.changed = newer.changed;
        again(newer.version);
      } catch (problem) {
        unsaved(current, problem.message);
      }
    }],
  ]);
}

const sameSize = (a, b) => a.slices === b.slices && a.width === b.width && a.height === b.height;

// Nothing of a case that cannot be shown can be loaded: the list knows what it is by now.
function conflictUnseen(current, message, again) {
  unsaved(current, message, [["Decide all the same", async () => {
    await refresh().catch(() => {});
    if (onView(current)) again(queue.find(current.name).version);
  }]]);
}

// ---- drawing --------------------------------------------------------------------------------------------------------

async function fetchProbability() {
  const { current } = state;
  const wanted = `probability-${state.class}`;
  if (!current || state.tool !== "smart" || current.shown.probability.has(wanted)) return;
  const { number, probability } = current.shown;
  try {
    probability.set(wanted, await api.plane(current.name, wanted, number, current.round));
  } catch (problem) {
    if (state.current === current) explain(problem);
  }
}

function stamp(x, y) {
  const { shown: { mask, probability: known }, width, height } = state.current;
  const radius = state.size / 2;
  if (state.tool === "eraser") return disc(mask, width, height, x, y, radius, 0);
  const probability = state.tool === "smart" && known.get(`probability-${state.class}`);
  if (probability) return snappedDisc(mask, width, height, x, y, radius, state.class, probability);
  return disc(mask, width, height, x, y, radius, state.class);
}

function paint(point) {
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

function endStroke() {
  const { stroke } = state;
  state.stroke = state.tap = null;
  if (stroke) changed(stroke.rect);
}

// What is drawn is seen: before, its layer is shown.
function beginChange() {
  if (!view.shown.mask) setLayer("mask", true);
  state.current.history.begin(state.current.shown);
}

// Fill and the corners of polygons wait until the finger is lifted: a second one may make it a pinch.
function tap(point) {
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
function tooFewCorners() {
  const few = state.points.length > 0 && state.points.length < 3;
  if (few) state.fewCorners = tell("A polygon needs three corners: click another one, or drop it with Escape.");
  return few;
}

function closePolygon() {
  const { current, points } = state;
  state.points = [];
  view.setTrace(null);
  withdraw(state.fewCorners);
  if (!current || points.length < 3) return false;
  beginChange();
  changed(polygon(current.shown.mask, current.width, current.height, points, state.class));
  return true;
}

function undo() {
  if (!state.current || state.stroke) return;
  if (state.points.length) {
    state.points.pop();
    return view.setTrace(state.points);
  }
  after(state.current.history.undo());
}

function redo() {
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

// ---- controls -------------------------------------------------------------------------------------------------------

function setTool(name) {
  if (name !== "polygon") closePolygon();
  state.tool = name;
  for (const tool of TOOLS) $(`tool-${tool.name}`).setAttribute("aria-pressed", String(tool.name === name));
  view.canvas.dataset.tool = name;
  $("cursor").hidden = true;
  fetchProbability();
}

function setSize(size) {
  state.size = Math.max(1, Math.min(200, Math.round(size)));
  $("size").value = state.size;
  $("size-value").textContent = `${state.size} px`;
}

function setClass(index) {
  if (index < 1 || index >= state.about.classes.length) return;
  state.class = index;
  for (const input of $("classes").querySelectorAll("input")) input.checked = Number(input.value) === index;
  fetchProbability();
}

function setLayer(name, shown) {
  if ($(`layer-${name}`).disabled) return;
  view.shown[name] = shown;
  $(`layer-${name}`).checked = shown;
  view.all();
}

function applyWindow() {
  view.setWindow(Number($("window").value), Number($("level").value));
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

function buildToolbar() {
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

function buildLayers() {
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

function buildClasses() {
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

const ACTIONS = {
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
const KEYS = [
  ["Enter", "accept the mask, or save the correction, and open the next"], ["K", "skip: ask again later"],
  ["R", "reject: leave the image out of training"], ["← →", "previous, next"], ["↑ ↓", "along the list, from one of its rows"], ["Z, Y", "undo, redo (also with Ctrl)"],
  ...TOOLS.map((tool) => [tool.key.toUpperCase(), tool.label.toLowerCase()]), ["[ ]", "smaller, larger brush"],
  [", . PgUp PgDn", "previous, next slice of a volume; also the wheel with Shift"], ["1 … 9", "class"], ["Enter, Backspace, Esc", "close a polygon, take back a corner, drop it"],
  ...LAYERS.map((layer) => [layer.key.toUpperCase(), `show or hide: ${layer.label.toLowerCase()}`]),
  ["+ − 0", "zoom in, out, fit; also the wheel or two fingers"], ["Space", "hold to drag the image"], ["?", "this list"],
];

function onKey(event) {
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

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
  view.all();
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser that keeps nothing forgets the setting: no harm.
  }
}

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

// ---- the server's side ----------------------------------------------------------------------------------------------

async function poll() {
  clearTimeout(state.polling);
  try {
    const status = await api.status();
    const before = state.lost ? null : state.status;
    state.status = status;
    showStatus();
    if (before?.queue !== status.queue || before.decisions !== status.decisions) await refresh();
    if (state.lost) withdraw(state.lost.told);
    state.lost = null;
    if (!state.wanted) await open(await firstCase());
    else if (state.unshown?.problem.status === 0) open(state.unshown.name);
  } catch (problem) {
    lose(problem);
  }
  state.polling = setTimeout(poll, POLL);
}

// Said once, and where a save failed that says more.
function lose({ message }) {
  if (state.lost?.message === message) return;
  const free = $("message").hidden || state.told === state.lost?.told;
  state.lost = { message, told: free ? tell(message) : null };
}

function showStatus() {
  const { status } = state;
  const parts = [`${status.reviewed.toLocaleString("en")} of ${status.to_review.toLocaleString("en")} reviewed`];
  if (status.minutes) parts.push(`${status.minutes} min`);
  if (status.expected) {
    parts.push(`model expects ${shareOf(status.expected.before)} → ${shareOf(status.expected.now)}`);
  }
  $("progress-text").textContent = parts.join(" · ");
  $("progress-text").title = "The Dice that the model expects over all masks to review: with its own alone → with yours";
  $("progress-bar").style.width = `${(100 * status.reviewed) / Math.max(1, status.to_review)}%`;
  $("ranking").textContent = status.ranked ? "Most useful first" :
    `Ranking: ${status.looked.toLocaleString("en")} of ${status.cases.toLocaleString("en")} cases looked at`;
  panel.render(status, state.about.validation > 0);
}

const roundInUse = () => state.status.rounds.find((round) => round.current).number;

async function refresh() {
  queue.set((await api.cases()).cases);
  const { current } = state;
  const stale = current && current.round !== roundInUse();
  if (stale && !busy()) open(current.name, { quietly: true, number: current.at });
}

async function start() {
  buildToolbar();
  buildLayers();
  setSize(12);
  setTool("brush");
  setTheme(remembered("criinet-theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  $("by").value = remembered("criinet-by") ?? "";
  $("hint").hidden = remembered("criinet-hint") === "seen";
  $("keys").append(...KEYS.flatMap(([key, what]) => {
    const term = document.createElement("dt");
    const said = document.createElement("dd");
    term.textContent = key;
    said.textContent = what;
    return [term, said];
  }));
  connect();
  describe();
  try {
    state.about = await api.about();
  } catch (problem) {
    $("progress-text").textContent = "";
    return empty("The page cannot be loaded", problem.message);
  }
  $("dataset").textContent = state.about.dataset;
  document.title = `${state.about.dataset} – criinet review`;
  buildClasses();
  await poll();
  if (state.about.note) tell(state.about.note);
}

// What was left unsaved comes first, unless it was rejected as it was, then the queue in its order.
async function firstCase() {
  const left = new Set(await drafts.keys().catch(() => []));
  const unsaved = (one) => one.status !== "rejected" && left.has(draftKey(one.name));
  const found = queue.cases.find(unsaved) ?? queue.cases.find((c) => c.status === "open");
  return (found ?? queue.cases.find((c) => c.status === "skipped"))?.name;
}

// Keys speak to the image again once the mouse or a finger has used a button; who came there by Tab stays there.
function releaseFocus() {
  const used = document.activeElement;
  if (used.matches(`button, ${BOXES}`) && !used.matches(":focus-visible")) view.canvas.focus({ preventScroll: true });
}

function connect() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", releaseFocus);
  document.addEventListener("keyup", (event) => {
    if (event.key !== " ") return;
    state.spaceHeld = false;
    view.canvas.dataset.tool = state.tool;
  });
  const clicks = {
    save: () => save(), skip: () => decide("skipped"), reject: () => decide("rejected"), next: following, previous,
    "help-open": ACTIONS["?"],
    "slice-before": () => moveBy(-1), "slice-after": () => moveBy(1),
    theme: () => {
      const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      setTheme(theme);
      remember("criinet-theme", theme);
    },
    "hint-close": () => {
      $("hint").hidden = true;
      remember("criinet-hint", "seen");
    },
    "window-reset": () => {
      $("window").value = 255;
      $("level").value = 128;
      applyWindow();
    },
  };
  for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
  $("slice").addEventListener("input", () => moveTo(Number($("slice").value) - 1));
  for (const id of ["window", "level"]) $(id).addEventListener("input", applyWindow);
  $("by").addEventListener("change", () => remember("criinet-by", $("by").value));
  $("filter").addEventListener("change", () => {
    queue.filter = $("filter").value;
    queue.render();
  });
  $("search").addEventListener("input", () => {
    queue.search = $("search").value.trim().toLowerCase();
    queue.render();
  });
  window.addEventListener("beforeunload", () => state.current?.dirty && keepDraft());
}

start();

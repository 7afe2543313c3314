// One case at a time: opened, shown slice by slice, and followed by the next.

import * as api from "./api.js";
import * as drafts from "./drafts.js";
import { History } from "./history.js";
import { applyWindow, LAYERS } from "./layers.js";
import { empty, tell } from "./messages.js";
import { Queue, TODO } from "./queue.js";
import { $, asked, busy, roundInUse, state, view } from "./state.js";
import { closePolygon, endStroke } from "./strokes.js";
import { describe, draftKey, fitting, putAside, takeUp, touch } from "./work.js";

const MOST_SLICES = 24;
export const queue = new Queue($("queue"), $("queue-empty"), (name) => open(name));

// With `quietly` the case is only shown anew if nobody draws on it or saves it by then. `number` is the slice to show
// first; without it, and without a draft, it is the one of which the model is least sure. With `onward` a case that
// somebody has decided meanwhile is passed over.
export async function open(name, { quietly = false, number = null, onward = false } = {}) {
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

export const next = (name) => open(queue.nextToReview(name), { onward: true });

// Let the server predict the next case while this one is looked at; of a volume that takes a while.
function foresee(name) {
  const next = queue.nextToReview(name);
  if (next) api.detail(next).catch(() => {});
}

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

export function showSlice(shown) {
  const { current } = state;
  current.shown = shown;
  view.load(shown.image, shown.mask, shown.planes, state.about.classes.map((c) => c.color), current.aspect);
  applyWindow();
  placeSlice(shown.number);
  fetchProbability();
  for (const next of [shown.number + 1, shown.number - 1])
    if (next >= 0 && next < current.slices) slice(current, next).catch(() => {});
}

export async function fetchProbability() {
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

function placeSlice(number) {
  const { current } = state;
  const place = `slice ${number + 1} of ${current.slices}`;
  current.at = number;
  $("slice").value = number + 1;
  $("slice").setAttribute("aria-valuetext", place);
  $("slice-place").textContent = place;
  view.canvas.ariaBusy = String(moving());
}

export async function moveTo(number) {
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

export const moveBy = (step) => state.current && moveTo(state.current.at + step);
export const moving = () => state.current.at !== state.current.shown.number;

// Under another model than a case was opened with, it is opened anew, with what was drawn on it.
export async function explain(problem) {
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
export function previous() {
  const before = state.visited.at(-2) ?? queue.neighbour(asked()?.name, -1);
  if (!before) return;
  state.visited.pop();
  open(before);
}

export function following() {
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

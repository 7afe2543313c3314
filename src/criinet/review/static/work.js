// The work on a case: what was drawn on it and in what time, its draft, and what the page says of it.

import * as drafts from "./drafts.js";
import { differing } from "./draw.js";
import { tell } from "./messages.js";
import { statusWord, TODO } from "./queue.js";
import { $, asked, state } from "./state.js";

const SAVED = new Set(["accepted", "corrected"]);
const AWAY_AFTER = 60;

export const draftKey = (name) => `${state.about.drafts}/${name}`;

// A draft if there is one and its slices are slices of the case.
export function fitting(draft, { slices, width, height }) {
  const fits = ([number, mask]) => number < slices && mask.length === width * height;
  return draft?.slices && [...draft.slices].every(fits) ? draft : null;
}

export function takeUp(draft, drafted) {
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

export function drawnOn(one) {
  one.edits = differing(one.mask, one.before);
  state.current.drawn.set(one.number, one);
  state.current.kept.delete(one.number);
}

export const edited = (current) => [...current.drawn.values()].filter((one) => one.edits > 0);

export async function keepDraft(current = state.current) {
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

export async function putAside() {
  if (state.current?.dirty) await keepDraft();
}

export function describe() {
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
export function touch() {
  const { current } = state;
  if (!current) return;
  const now = Date.now();
  current.seconds += Math.min(AWAY_AFTER, (now - current.touched) / 1000);
  current.touched = now;
}

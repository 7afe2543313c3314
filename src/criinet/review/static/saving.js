// Saving a case or deciding on it without a mask, and what can be done where that fails.

import * as api from "./api.js";
import { explain, next, open, queue } from "./cases.js";
import * as drafts from "./drafts.js";
import { differing } from "./draw.js";
import { tell } from "./messages.js";
import { encodeGray } from "./png.js";
import { poll, refresh } from "./polling.js";
import { $, asked, onView, state } from "./state.js";
import { closePolygon, endStroke, tooFewCorners } from "./strokes.js";
import { describe, draftKey, edited, keepDraft, touch } from "./work.js";

export async function save(current = state.current, version = current?.version) {
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

export async function decide(action, current = asked(), version = current?.version) {
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

// The server's side: how far the review, the ranking and the model are, and what the page makes of it.

import * as api from "./api.js";
import { open, queue } from "./cases.js";
import * as drafts from "./drafts.js";
import { tell, withdraw } from "./messages.js";
import { ModelPanel } from "./model.js";
import { number as shareOf } from "./numbers.js";
import { $, busy, roundInUse, state } from "./state.js";
import { draftKey } from "./work.js";

const POLL = 1500;
const panel = new ModelPanel($("model"), (text) => tell(text));

export async function poll() {
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

export async function refresh() {
  queue.set((await api.cases()).cases);
  const { current } = state;
  const stale = current && current.round !== roundInUse();
  if (stale && !busy()) open(current.name, { quietly: true, number: current.at });
}

// What was left unsaved comes first, unless it was rejected as it was, then the queue in its order.
async function firstCase() {
  const left = new Set(await drafts.keys().catch(() => []));
  const unsaved = (one) => one.status !== "rejected" && left.has(draftKey(one.name));
  const found = queue.cases.find(unsaved) ?? queue.cases.find((c) => c.status === "open");
  return (found ?? queue.cases.find((c) => c.status === "skipped"))?.name;
}

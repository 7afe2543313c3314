// The page: one case at a time, drawn on, saved, and followed by the next.

import * as api from "./api.js";
import { following, moveBy, moveTo, previous, queue } from "./cases.js";
import { buildClasses, buildToolbar, remember, remembered, setSize, setTheme, setTool } from "./controls.js";
import { ACTIONS, KEYS, onKey, releaseFocus } from "./keys.js";
import { applyWindow, buildLayers } from "./layers.js";
import { empty, tell } from "./messages.js";
import { poll } from "./polling.js";
import { decide, save } from "./saving.js";
import { $, state, view } from "./state.js";
import { describe, keepDraft } from "./work.js";

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

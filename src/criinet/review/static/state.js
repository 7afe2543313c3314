// What the page is about: the case on view, the tool in hand, and what is asked of both.

import { View } from "./view.js";

export const $ = (id) => document.getElementById(id);
export const view = new View($("canvas"));
export const state = {
  about: null, status: null, current: null, tool: "brush", size: 12, class: 1, pointers: new Map(), stroke: null,
  tap: null, points: [], told: null, fewCorners: null, spaceHeld: false, polling: null, saving: null, wheeled: 0,
  wanted: null, visited: [], unshown: null, lost: null,
};

// The case that is shown, or cannot be shown, but be decided.
export const asked = () => state.current ?? state.unshown;

// Whether a case is shown, and no other one was asked for.
export const onView = (current) => asked() === current && state.wanted.name === current.name;

export const busy = () => state.saving || state.stroke || state.points.length > 0 || state.current?.dirty;

export const roundInUse = () => state.status.rounds.find((round) => round.current).number;

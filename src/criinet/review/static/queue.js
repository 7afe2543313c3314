// The queue: every case with its thumbnail, filtered and searched in the browser.

import { thumbnail } from "./api.js";

const WORDS = {
  open: "to review", skipped: "skipped", corrected: "corrected", accepted: "accepted", rejected: "rejected",
  labeled: "labeled before",
};
const MARKS = { open: "", skipped: "↷", corrected: "✎", accepted: "✓", rejected: "✕", labeled: "●" };

export const TODO = new Set(["open", "skipped"]);
export const statusWord = (status) => WORDS[status];

export class Queue {
  constructor(list, empty, pick) {
    this.list = list;
    this.empty = empty;
    this.pick = pick;
    this.cases = [];
    this.rows = new Map();
    this.filter = "todo";
    this.search = "";
    this.current = null;
    this.stop = null;
    list.addEventListener("keydown", (event) => this.onKey(event));
  }

  set(cases) {
    this.cases = cases;
    this.render();
  }

  update(summary) {
    const at = this.cases.findIndex((c) => c.name === summary.name);
    if (at < 0) return;
    this.cases[at] = { ...this.cases[at], ...summary };
    const row = this.rows.get(summary.name);
    if (!row) return;
    this.describe(row, this.cases[at]);
    if (!this.shows(this.cases[at])) {
      row.remove();
      this.rows.delete(summary.name);
      this.whenEmpty();
      if (!this.stop?.isConnected) this.stopAt(this.list.querySelector("button"));
    }
  }

  find(name) {
    return this.cases.find((c) => c.name === name);
  }

  shows(one) {
    const wanted = this.filter === "all" || one.status === this.filter || (this.filter === "todo" && TODO.has(one.status));
    return wanted && one.name.toLowerCase().includes(this.search);
  }

  // The case so many places after `name` among those shown; a case that was just decided keeps its place.
  neighbour(name, step) {
    const shown = this.cases.filter((c) => c.name === name || this.shows(c));
    const at = shown.findIndex((c) => c.name === name);
    return shown[at < 0 ? 0 : at + step]?.name ?? null;
  }

  nextToReview(name) {
    const at = this.cases.findIndex((c) => c.name === name);
    const turned = [...this.cases.slice(at + 1), ...this.cases.slice(0, Math.max(0, at))];
    return (turned.find((c) => c.status === "open" && this.shows(c)) ?? turned.find((c) => c.status === "open") ??
      turned.find((c) => c.status === "skipped"))?.name ?? null;
  }

  // The list stays where it is, and so does the focus.
  render() {
    const top = this.list.scrollTop;
    const focused = this.focused();
    const shown = this.cases.filter((c) => this.shows(c));
    const rows = document.createDocumentFragment();
    this.rows.clear();
    for (const one of shown) {
      const row = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.tabIndex = -1;
      const picture = document.createElement("img");
      picture.src = thumbnail(one.name);
      picture.alt = "";
      picture.loading = "lazy";
      picture.width = picture.height = 48;
      const text = document.createElement("span");
      text.className = "text";
      button.append(picture, text);
      button.addEventListener("click", () => this.pick(one.name));
      row.append(button);
      this.describe(row, one);
      this.rows.set(one.name, row);
      rows.append(row);
    }
    this.list.replaceChildren(rows);
    this.whenEmpty();
    this.mark(this.current);
    this.list.scrollTop = top;
    if (focused) this.button(focused)?.focus({ preventScroll: true });
  }

  button(name) {
    return this.rows.get(name)?.querySelector("button");
  }

  focused() {
    return [...this.rows.keys()].find((name) => this.button(name) === document.activeElement);
  }

  // Tab comes to one row alone, up and down go on from there.
  onKey(event) {
    const step = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" }[event.key];
    const row = step && event.target.closest("li")?.[step];
    if (!row) return;
    event.preventDefault();
    this.stopAt(row.querySelector("button"));
    row.querySelector("button").focus();
  }

  stopAt(button) {
    if (this.stop) this.stop.tabIndex = -1;
    this.stop = button;
    if (button) button.tabIndex = 0;
  }

  whenEmpty() {
    const none = this.rows.size === 0;
    this.list.hidden = none;
    this.empty.hidden = !none;
    if (none)
      this.empty.textContent = this.search
        ? `No case has “${this.search}” in its name here.`
        : this.filter === "todo" ? "Nothing is left to review." : "No case here.";
  }

  describe(row, one) {
    const text = row.querySelector(".text");
    const name = document.createElement("strong");
    name.textContent = one.name;
    const about = document.createElement("span");
    about.className = `state ${one.status}`;
    const benefit = one.status === "open" && one.benefit !== null ? `benefit ${Math.round(one.benefit * 100)}` : "";
    about.textContent = one.problem ? "cannot be read" : `${MARKS[one.status]} ${benefit || WORDS[one.status]}`.trim();
    text.replaceChildren(name, about);
    const said = one.problem || (one.by ? `${WORDS[one.status]} by ${one.by}` : WORDS[one.status]);
    row.querySelector("button").title = `${one.name}: ${said}`;
  }

  mark(name) {
    this.button(this.current)?.removeAttribute("aria-current");
    const other = name !== this.current;
    this.current = name;
    this.button(name)?.setAttribute("aria-current", "true");
    this.stopAt(this.button(name) ?? this.list.querySelector("button"));
    if (other) this.rows.get(name)?.scrollIntoView({ block: "nearest" });
  }
}

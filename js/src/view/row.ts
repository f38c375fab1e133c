/** One row's element: edge, time, source, message; or a notice, a gap, the log's beginning. Opens on a click. */

import { seen, strip } from "../store/parsing/controls.ts";
import { fieldsOf } from "../store/parsing/fields.ts";
import type { Row } from "../types/rows.ts";
import type { RemoteSearch } from "../types/summary.ts";
import { h } from "./dom.ts";
import { clock, grouped } from "./format.ts";
import { fill, noticeWords } from "./line.ts";
import { tree, type TreeActions } from "./tree.ts";

export interface Label {
  short: string;
  full: string;
  hue: number;
}

export interface RowActions {
  label(source: number): Label | undefined;
  older(): void;
  /** Loads what was left out. */
  hole(id: number): void;
  /** Goes on with the search of what is not loaded, or stops it. */
  search(go: boolean): void;
  /** Opens or folds what belongs to a row. */
  fold(id: number): void;
  /** The whole text of a line that was cut. */
  text(id: number): Promise<string>;
  readonly tree: TreeActions;
  resized(): void;
}

/** Characters of a notice that one line hardly has room for: all of it opens below. */
const LONG = 120;
/** States of a bar that are listed. */
const HISTORY = 1000;
const LEVEL_CLASS = ["", "", "", "", "cl-warn", "cl-err", "cl-err"];

function searchRow({ text }: Row, { state }: RemoteSearch, actions: RowActions): HTMLElement {
  const words = noticeWords(text, (ms) => clock(ms).slice(0, 8));
  const said: Record<string, string> = { running: "Stop", stopped: "Search on", failed: "Try again", done: "" };
  const ask = said[state] === "" ? "" : h("button", { type: "button", class: "cl-more", onclick: () => actions.search(state !== "running") }, said[state]);
  return h("div", { class: "cl-r cl-note cl-edge", "data-notice": "edge" }, h("span", { class: "cl-nt", title: words }, words), ask);
}

export function makeRow(row: Row, actions: RowActions, open: Map<number, string>): HTMLElement {
  if (row.kind === "edge") {
    if (row.remote) return searchRow(row, row.remote, actions);
    if (row.text === "") return h("div", { class: "cl-r" });
    const ask = row.text === "Older lines" ? h("button", { type: "button", class: "cl-more", onclick: () => actions.older() }, "↑ Load older lines") : row.text;
    return h("div", { class: "cl-r cl-note cl-edge", "data-notice": "edge" }, ask);
  }
  // Not here yet: it takes the place that it will need.
  if (row.kind === "blank") return h("div", { class: "cl-r cl-blank", "aria-hidden": "true" });
  if (row.kind !== "line") return noticeRow(row, actions, open);
  const label = actions.label(row.source);
  const message = h("span", { class: "cl-m" });
  const element = h(
    "div",
    { class: `cl-r ${LEVEL_CLASS[row.level]} ${row.below ? "cl-below" : ""}`, "data-seq": row.seq },
    h("i", {}),
    h("span", { class: "cl-t", title: new Date(row.time).toISOString() }, clock(row.time)),
    h("span", { class: "cl-s", title: label?.full ?? "", style: `--h:${label?.hue ?? 0}` }, label?.short ?? ""),
    message,
  );
  const whole = open.get(row.id);
  // Above a tree the row stays one line.
  const line = whole !== undefined && row.json ? h("div", { class: "cl-line" }) : message;
  if (line !== message) message.append(line, opened(whole!, actions.tree));
  if (row.json || row.fold) line.append(twisty(row, whole !== undefined, actions, open));
  else if (row.bar !== undefined) line.append(h("span", { class: "cl-tw" }, "  "));
  if (row.bar !== undefined && row.bar >= 0) line.append(track(row.bar));
  if (whole !== undefined && whole !== "" && !row.json) line.append(seen(whole));
  else fill(line, row.text, row.runs, row.marks);
  const times = row.times === undefined ? "" : `× ${grouped(row.times)} until ${clock(row.until!)}`;
  const aside = [times, row.aside, elsewhere(row, actions)].filter(Boolean).join(" · ");
  if (aside !== "") line.append(h("span", { class: "cl-aside" }, `  · ${aside}`));
  if (row.more > 0 && whole === undefined) line.append(h("span", { class: "cl-k" }, ` … ${grouped(row.more)} more`));
  if (whole !== undefined) element.classList.add("cl-open");
  message.addEventListener("click", (event) => toggle(event, row, message, actions, open));
  return element;
}

/** Opens what is below a row: its other rows, or what is in it. */
function twisty(row: Row, isWhole: boolean, actions: RowActions, open: Map<number, string>): HTMLElement {
  const isOpen = row.fold === "open" || isWhole;
  const onclick = (event: Event): void => {
    event.stopPropagation();
    act(row, actions, open);
  };
  return h("button", { type: "button", class: "cl-tw", "aria-expanded": String(isOpen), "aria-label": isOpen ? "Fold" : "Open", onclick }, isOpen ? "▾ " : "▸ ");
}

function track(share: number): HTMLElement {
  const percent = Math.floor(100 * Math.min(1, share));
  return h("span", { class: "cl-track", role: "progressbar", "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100 }, h("i", { style: `width:${percent}%` }));
}

/** The other pods with the same traceback, as many as one reads. */
function elsewhere(row: Row, actions: RowActions): string {
  const names = [...new Set((row.also ?? []).map((source) => actions.label(source)?.short ?? "?"))];
  if (names.length === 0) return "";
  return `also in ${names.slice(0, 4).join(", ")}${names.length > 4 ? ` and ${names.length - 4} more` : ""}`;
}

/** What a bar has shown, one state a line, as it was written. */
function history(text: string): HTMLElement {
  const states = text.split("\r").map(seen).filter((state) => state.trim() !== "");
  const left = states.length - HISTORY;
  return h("div", { class: "cl-tree" }, left > 0 ? h("div", { class: "cl-k" }, `${grouped(left)} earlier`) : null, ...states.slice(-HISTORY).map((state) => h("div", { class: "cl-leaf" }, state)));
}

function opened(text: string, actions: TreeActions): HTMLElement {
  const found = /\r[^\r]/.test(text) ? null : fieldsOf(strip(text));
  return found === null ? history(text) : tree(found.fields, actions);
}

function toggle(event: Event, row: Row, message: HTMLElement, actions: RowActions, open: Map<number, string>): void {
  const target = event.target as HTMLElement;
  if (target.closest("a, button, .cl-tree") || String(getSelection() ?? "") !== "") return;
  if (row.fold === undefined && !row.json && row.more === 0 && !open.has(row.id)) {
    if (message.scrollWidth <= message.clientWidth) return;
    open.set(row.id, "");
    actions.resized();
  } else act(row, actions, open);
}

function act(row: Row, actions: RowActions, open: Map<number, string>): void {
  if (row.fold !== undefined) actions.fold(row.id);
  else if (open.delete(row.id)) actions.resized();
  else {
    void actions.text(row.id).then((text) => {
      open.set(row.id, text);
      actions.resized();
    });
  }
}

function noticeRow(row: Row, actions: RowActions, open: Map<number, string>): HTMLElement {
  const words = noticeWords(row.text, (ms) => clock(ms).slice(0, 8));
  const text = h("span", { class: "cl-nt", title: words }, words);
  const tone = row.kind === "gap" ? "cl-gap" : row.kind === "hole" ? "cl-edge" : row.level >= 4 ? "cl-gaps" : "";
  const element = h("div", { class: `cl-r cl-note ${tone}`, "data-notice": row.kind }, text);
  if (row.kind === "hole") element.append(h("button", { type: "button", class: "cl-more", onclick: () => actions.hole(row.id) }, "Load"));
  const hint = row.hint || (words.length > LONG ? words : "");
  if (hint) {
    const why = (): void => {
      if (!open.delete(row.id)) open.set(row.id, hint);
      actions.resized();
    };
    element.append(h("button", { type: "button", class: "cl-more", "aria-expanded": String(open.has(row.id)), onclick: why }, hint === words ? "More" : "Why?"));
    if (open.has(row.id)) {
      element.classList.add("cl-open");
      // Where it only was too long, the row itself shows all of it now.
      if (hint !== words) element.append(h("div", { class: "cl-hint" }, hint));
    }
  }
  return element;
}

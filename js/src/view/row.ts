/** One row's element: edge, time, source, message; or a notice, a gap, the log's beginning. Opens on a click. */

import { visibleText, stripEscapes } from "../store/parsing/controls.ts";
import { parseFields } from "../store/parsing/fields.ts";
import type { Row } from "../types/rows.ts";
import type { RemoteSearchState } from "../types/summary.ts";
import { h } from "./dom.ts";
import { formatClock, groupDigits } from "./format.ts";
import { writeRuns, formatNotice } from "./line.ts";
import { recordTree, type TreeActions } from "./tree.ts";

export interface SourceLabel {
  short: string;
  full: string;
  hue: number;
}

export interface RowActions {
  label(source: number): SourceLabel | undefined;
  loadOlder(): void;
  /** Loads what was left out. */
  loadSpan(id: number): void;
  /** Goes on with the search of what is not loaded, or stops it. */
  search(go: boolean): void;
  /** Opens or folds what belongs to a row. */
  toggleFold(id: number): void;
  /** The whole text of a line that was cut. */
  fullText(id: number): Promise<string>;
  readonly tree: TreeActions;
  resized(): void;
}

/** Characters of a notice that one line hardly has room for: all of it opens below. */
const LONG_NOTICE_CHARS = 120;
/** States of a bar that are listed. */
const MAX_STATES = 1000;
const LEVEL_CLASS = ["", "", "", "", "cl-warn", "cl-err", "cl-err"];

function searchRow({ text }: Row, { state }: RemoteSearchState, actions: RowActions): HTMLElement {
  const words = formatNotice(text, (ms) => formatClock(ms).slice(0, 8));
  const said: Record<string, string> = { running: "Stop", stopped: "Search on", failed: "Try again", done: "" };
  const ask = said[state] === "" ? "" : h("button", { type: "button", class: "cl-more", onclick: () => actions.search(state !== "running") }, said[state]);
  return h("div", { class: "cl-r cl-note cl-edge", "data-notice": "edge" }, h("span", { class: "cl-nt", title: words }, words), ask);
}

export function makeRow(row: Row, actions: RowActions, open: Map<number, string>): HTMLElement {
  if (row.kind === "edge") {
    if (row.remote) return searchRow(row, row.remote, actions);
    if (row.text === "") return h("div", { class: "cl-r" });
    const ask = row.text === "Older lines" ? h("button", { type: "button", class: "cl-more", onclick: () => actions.loadOlder() }, "↑ Load older lines") : row.text;
    return h("div", { class: "cl-r cl-note cl-edge", "data-notice": "edge" }, ask);
  }
  // Not here yet: it takes the place that it will need.
  if (row.kind === "blank") return h("div", { class: "cl-r cl-blank", "aria-hidden": "true" });
  if (row.kind !== "line") return noticeRow(row, actions, open);
  const label = actions.label(row.source);
  const message = h("span", { class: "cl-m" });
  const element = h(
    "div",
    { class: `cl-r ${LEVEL_CLASS[row.level]} ${row.isNested ? "cl-below" : ""}`, "data-seq": row.seq },
    h("i", {}),
    h("span", { class: "cl-t", title: new Date(row.time).toISOString() }, formatClock(row.time)),
    h("span", { class: "cl-s", title: label?.full ?? "", style: `--h:${label?.hue ?? 0}` }, label?.short ?? ""),
    message,
  );
  const whole = open.get(row.id);
  // Above a tree the row stays one line.
  const line = whole !== undefined && row.hasDetails ? h("div", { class: "cl-line" }) : message;
  if (line !== message) message.append(line, openedContent(whole!, actions.tree));
  if (row.hasDetails || row.fold) line.append(foldButton(row, whole !== undefined, actions, open));
  else if (row.bar !== undefined) line.append(h("span", { class: "cl-tw" }, "  "));
  if (row.bar !== undefined && row.bar >= 0) line.append(progressTrack(row.bar));
  if (whole !== undefined && whole !== "" && !row.hasDetails) line.append(visibleText(whole));
  else writeRuns(line, row.text, row.runs, row.marks);
  const times = row.repeats === undefined ? "" : `× ${groupDigits(row.repeats)} until ${formatClock(row.lastTime!)}`;
  const aside = [times, row.aside, otherPods(row, actions)].filter(Boolean).join(" · ");
  if (aside !== "") line.append(h("span", { class: "cl-aside" }, `  · ${aside}`));
  if (row.hiddenChars > 0 && whole === undefined) line.append(h("span", { class: "cl-k" }, ` … ${groupDigits(row.hiddenChars)} more`));
  if (whole !== undefined) element.classList.add("cl-open");
  message.addEventListener("click", (event) => onMessageClick(event, row, message, actions, open));
  return element;
}

/** Opens what is below a row: its other rows, or what is in it. */
function foldButton(row: Row, isWhole: boolean, actions: RowActions, open: Map<number, string>): HTMLElement {
  const isOpen = row.fold === "open" || isWhole;
  const onclick = (event: Event): void => {
    event.stopPropagation();
    toggleOpen(row, actions, open);
  };
  return h("button", { type: "button", class: "cl-tw", "aria-expanded": String(isOpen), "aria-label": isOpen ? "Fold" : "Open", onclick }, isOpen ? "▾ " : "▸ ");
}

function progressTrack(share: number): HTMLElement {
  const percent = Math.floor(100 * Math.min(1, share));
  return h("span", { class: "cl-track", role: "progressbar", "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100 }, h("i", { style: `width:${percent}%` }));
}

/** The other pods with the same traceback, as many as one reads. */
function otherPods(row: Row, actions: RowActions): string {
  const names = [...new Set((row.otherSources ?? []).map((source) => actions.label(source)?.short ?? "?"))];
  if (names.length === 0) return "";
  return `also in ${names.slice(0, 4).join(", ")}${names.length > 4 ? ` and ${names.length - 4} more` : ""}`;
}

/** What a bar has shown, one state a line, as it was written. */
function barHistory(text: string): HTMLElement {
  const states = text.split("\r").map(visibleText).filter((state) => state.trim() !== "");
  const left = states.length - MAX_STATES;
  return h("div", { class: "cl-tree" }, left > 0 ? h("div", { class: "cl-k" }, `${groupDigits(left)} earlier`) : null, ...states.slice(-MAX_STATES).map((state) => h("div", { class: "cl-leaf" }, state)));
}

function openedContent(text: string, actions: TreeActions): HTMLElement {
  const found = /\r[^\r]/.test(text) ? null : parseFields(stripEscapes(text));
  return found === null ? barHistory(text) : recordTree(found.fields, actions);
}

function onMessageClick(event: Event, row: Row, message: HTMLElement, actions: RowActions, open: Map<number, string>): void {
  const target = event.target as HTMLElement;
  if (target.closest("a, button, .cl-tree") || String(getSelection() ?? "") !== "") return;
  if (row.fold === undefined && !row.hasDetails && row.hiddenChars === 0 && !open.has(row.id)) {
    if (message.scrollWidth <= message.clientWidth) return;
    open.set(row.id, "");
    actions.resized();
  } else toggleOpen(row, actions, open);
}

function toggleOpen(row: Row, actions: RowActions, open: Map<number, string>): void {
  if (row.fold !== undefined) actions.toggleFold(row.id);
  else if (open.delete(row.id)) actions.resized();
  else {
    void actions.fullText(row.id).then((text) => {
      open.set(row.id, text);
      actions.resized();
    });
  }
}

function noticeRow(row: Row, actions: RowActions, open: Map<number, string>): HTMLElement {
  const words = formatNotice(row.text, (ms) => formatClock(ms).slice(0, 8));
  const text = h("span", { class: "cl-nt", title: words }, words);
  const tone = row.kind === "gap" ? "cl-gap" : row.kind === "hole" ? "cl-edge" : row.level >= 4 ? "cl-gaps" : "";
  const element = h("div", { class: `cl-r cl-note ${tone}`, "data-notice": row.kind }, text);
  if (row.kind === "hole") element.append(h("button", { type: "button", class: "cl-more", onclick: () => actions.loadSpan(row.id) }, "Load"));
  const hint = row.hint || (words.length > LONG_NOTICE_CHARS ? words : "");
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

/** The element of a row: its coloured edge, time, source and message, or a notice. A click opens it. */

import type { FullText } from "../protocol/messages.ts";
import type { RemoteSearchState, Row, StyleRun } from "../protocol/update.ts";
import { stripEscapes, visibleText } from "../text/ansi.ts";
import { colourStyle } from "../text/colours.ts";
import { formatClock, formatElapsed, formatUtcClock, groupDigits } from "../text/format.ts";
import { LEVELS } from "../text/level.ts";
import type { TimeDisplay } from "../client/settings.ts";
import { copyToClipboard, h, setClass, setText } from "./dom.ts";
import { columnStyle } from "./fieldcolumns.ts";

export interface SourceLabel {
  short: string;
  full: string;
  colour: number;
}

export interface RowActions {
  label(source: number): SourceLabel | undefined;
  /** Return the hue of a match; undefined for the usual colour. */
  markHue(text: string): number | undefined;
  loadOlder(): void;
  /** Load an unloaded span. */
  loadSpan(id: number): void;
  /** Continue or stop the search in lines that are not loaded. */
  search(go: boolean): void;
  /** Open or close the fold of a row. */
  toggleFold(id: number): void;
  /** Load the whole text and the fields of a line. */
  fullText(id: number): Promise<FullText>;
  readonly tree: TreeActions;
  resized(): void;
}

/** A notice with more characters than this can be opened to show all of it. */
const LONG_NOTICE_CHARS = 120;
/** Maximum number of states of a bar that are listed. */
const MAX_STATES = 1000;
/** Maximum number of characters of an opened line that are painted: laying out millions of them would freeze the page. */
const MAX_PAINTED_CHARS = 32_768;
/** A page that was opened for a text is held this long (ms), until the browser has loaded it. */
const KEEP_PAGE_MS = 60_000;
const LEVEL_CLASS = ["", "", "", "", "cl-warn", "cl-err", "cl-err"];

function searchRow({ text }: Row, { state }: RemoteSearchState, actions: RowActions): HTMLElement {
  const words = formatNotice(text, (ms) => formatClock(ms).slice(0, 8));
  const said: Record<string, string> = { running: "Stop", stopped: "Search on", failed: "Try again", done: "" };
  const ask = said[state] === "" ? "" : h("button", { class: "cl-more", onclick: () => actions.search(state !== "running") }, said[state]);
  return h("div", { class: "cl-r cl-note cl-edge", "data-notice": "edge" }, h("span", { class: "cl-nt", title: words }, words), ask);
}

export function makeRow(row: Row, actions: RowActions, open: Map<number, FullText>): HTMLElement {
  if (row.kind === "edge") {
    if (row.remote) return searchRow(row, row.remote, actions);
    if (row.text === "") return h("div", { class: "cl-r" });
    const ask = row.text === "Older lines" ? h("button", { class: "cl-more", onclick: () => actions.loadOlder() }, "↑ Load older lines") : row.text;
    return h("div", { class: "cl-r cl-note cl-edge", "data-notice": "edge" }, ask);
  }
  // The row is not loaded. Take the room that its line will need.
  if (row.kind === "blank") return h("div", { class: "cl-r cl-blank", "aria-hidden": "true" });
  if (row.kind !== "line") return noticeRow(row, actions, open);
  const label = actions.label(row.source);
  const message = h("span", { class: "cl-m" });
  const element = h(
    "div",
    { class: `cl-r ${LEVEL_CLASS[row.level]} ${row.isNested ? "cl-below" : ""} ${row.isContext ? "cl-context" : ""} ${row.isApart ? "cl-apart" : ""}`, "data-seq": row.seq },
    h("i", {}),
    h("span", { class: "cl-t", title: new Date(row.time).toISOString() }, formatClock(row.time)),
    h("span", { class: "cl-s", title: label?.full ?? "", style: colourStyle(label?.colour ?? 0) }, label?.short ?? ""),
    message,
  );
  const whole = open.get(row.id);
  // With a tree of fields below it, the row has one line.
  const line = whole !== undefined && row.hasDetails ? h("div", { class: "cl-line" }) : message;
  if (line !== message) message.append(line, openedContent(whole!, actions.tree));
  line.append(...fieldCells(row, actions.tree.chosen));
  if (row.hasDetails || row.fold) line.append(foldButton(row, whole !== undefined, actions, open));
  else if (row.bar !== undefined) line.append(h("span", { class: "cl-tw" }, "  "));
  if (row.bar !== undefined && row.bar >= 0) line.append(progressTrack(row.bar));
  if (whole !== undefined && whole.text !== "" && !row.hasDetails) line.append(...wholeText(whole.text));
  else writeRuns(line, row.text, row.runs, row.marks, actions.markHue);
  const times = row.repeats === undefined ? "" : `× ${groupDigits(row.repeats)} until ${formatClock(row.lastTime!)}`;
  const aside = [times, row.aside, otherPods(row, actions)].filter(Boolean).join(" · ");
  if (aside !== "") line.append(h("span", { class: "cl-aside" }, `  · ${aside}`));
  if (row.hiddenChars > 0 && whole === undefined) line.append(h("span", { class: "cl-k" }, ` … ${groupDigits(row.hiddenChars)} more`));
  if (whole !== undefined) element.classList.add("cl-open");
  message.addEventListener("click", (event) => onMessageClick(event, row, message, actions, open));
  return element;
}

const NUMBER = /^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?%?$/i;

/** Return the values of the chosen fields, as wide as their columns. A row without them has empty cells. */
function fieldCells({ values = [] }: Row, chosen: readonly string[]): HTMLElement[] {
  return chosen.map((field, i) => {
    const value = values[i] ?? "";
    return h("span", { class: `cl-col ${NUMBER.test(value) ? "cl-n" : ""}`, style: columnStyle(i), title: value && `${field}: ${value}` }, value);
  });
}

/** Return the button that opens a fold's members or a row's content. */
function foldButton(row: Row, isWhole: boolean, actions: RowActions, open: Map<number, FullText>): HTMLElement {
  const isOpen = row.fold === "open" || isWhole;
  const onclick = (event: Event): void => {
    event.stopPropagation();
    toggleOpen(row, actions, open);
  };
  return h("button", { class: "cl-tw", "aria-expanded": String(isOpen), "aria-label": isOpen ? "Fold" : "Open", onclick }, isOpen ? "▾ " : "▸ ");
}

function progressTrack(share: number): HTMLElement {
  const percent = Math.floor(100 * Math.min(1, share));
  return h("span", { class: "cl-track", role: "progressbar", "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100 }, h("i", { style: `width:${percent}%` }));
}

/** Name the other pods with the same traceback, at most four. */
function otherPods(row: Row, actions: RowActions): string {
  const names = [...new Set((row.otherSources ?? []).map((source) => actions.label(source)?.short ?? "?"))];
  if (names.length === 0) return "";
  return `also in ${names.slice(0, 4).join(", ")}${names.length > 4 ? ` and ${names.length - 4} more` : ""}`;
}

/** Return the text of an opened line. A very long line is cut to its beginning; its whole text can be copied, or opened as a page. */
function wholeText(text: string): (Node | string)[] {
  const beginning = paintedText(text);
  if (text.length <= MAX_PAINTED_CHARS) return [beginning];
  const action = (label: string, onclick: () => void): Node => h("button", { class: "cl-more", onclick }, label);
  const whole = h("span", { class: "cl-aside" });
  whole.append(action("Copy the whole line", () => copy(text, whole)), " ", action("Open it as a page", () => openPage(text)));
  return [beginning, "\n", whole];
}

/** Return the beginning of a text for display, and how many characters follow. */
function paintedText(text: string, most = MAX_PAINTED_CHARS): string {
  const left = text.length - most;
  return left <= 0 ? visibleText(text) : `${visibleText(text.slice(0, most))} … ${groupDigits(left)} more characters`;
}

function openPage(text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  window.open(url, "_blank", "noopener");
  setTimeout(() => URL.revokeObjectURL(url), KEEP_PAGE_MS);
}

/** List the states of a bar as they were written. */
function barHistory(text: string): HTMLElement {
  const states = text.split("\r").filter((state) => stripEscapes(state).trim() !== "");
  const left = states.length - MAX_STATES;
  const most = Math.max(100, Math.floor(MAX_PAINTED_CHARS / Math.min(MAX_STATES, states.length)));
  return h("div", { class: "cl-tree" }, left > 0 ? h("div", { class: "cl-k" }, `${groupDigits(left)} earlier`) : null, ...states.slice(-MAX_STATES).map((state) => h("div", { class: "cl-leaf" }, paintedText(state, most))));
}

function openedContent({ text, fields }: FullText, actions: TreeActions): HTMLElement {
  return fields === null ? barHistory(text) : recordTree(fields, actions);
}

function onMessageClick(event: Event, row: Row, message: HTMLElement, actions: RowActions, open: Map<number, FullText>): void {
  const target = event.target as HTMLElement;
  if (target.closest("a, button, .cl-tree") || String(getSelection() ?? "") !== "") return;
  if (row.fold === undefined && !row.hasDetails && row.hiddenChars === 0 && !open.has(row.id)) {
    if (message.scrollWidth <= message.clientWidth) return;
    open.set(row.id, { text: "", fields: null });
    actions.resized();
  } else toggleOpen(row, actions, open);
}

function toggleOpen(row: Row, actions: RowActions, open: Map<number, FullText>): void {
  if (row.fold !== undefined) actions.toggleFold(row.id);
  else if (open.delete(row.id)) actions.resized();
  else {
    void actions.fullText(row.id).then(
      (text) => {
        open.set(row.id, text);
        actions.resized();
      },
      // The worker was replaced, and the viewer says why. The new rows can be opened.
      () => {},
    );
  }
}

function noticeRow(row: Row, actions: RowActions, open: Map<number, FullText>): HTMLElement {
  const words = formatNotice(row.text, (ms) => formatClock(ms).slice(0, 8));
  const text = h("span", { class: "cl-nt", title: words }, words);
  const tone = row.kind === "gap" ? "cl-gap" : row.kind === "hole" ? "cl-edge" : row.level >= 4 ? "cl-gaps" : "";
  const element = h("div", { class: `cl-r cl-note ${tone}`, "data-notice": row.kind }, text);
  if (row.kind === "hole") element.append(h("button", { class: "cl-more", onclick: () => actions.loadSpan(row.id) }, "Load"));
  const hint = row.hint || (words.length > LONG_NOTICE_CHARS ? words : "");
  if (hint) {
    const why = (): void => {
      if (!open.delete(row.id)) open.set(row.id, { text: hint, fields: null });
      actions.resized();
    };
    element.append(h("button", { class: "cl-more", "aria-expanded": String(open.has(row.id)), onclick: why }, hint === words ? "More" : "Why?"));
    if (open.has(row.id)) {
      element.classList.add("cl-open");
      // If the line was only too long, the row itself shows all of it now.
      if (hint !== words) element.append(h("div", { class: "cl-hint" }, hint));
    }
  }
  return element;
}

/** Hues of a terminal's colours. The theme sets lightness and chroma. Black, grey and white become the theme's text colours. */
const HUES = [0, 25, 145, 85, 255, 325, 205];
const INKS: Record<number, string> = { 0: "var(--ink)", 7: "var(--dim)", 8: "var(--faint)", 15: "var(--ink)" };
const RUN_CLASSES: Record<string, string> = { n: "cl-n", k: "cl-k", t: "cl-k cl-own", w: "cl-lv", l: "cl-lv cl-aO", e: "cl-le", x: "cl-ctl" };

/** Set a text or background colour. A background is light, so that text of any colour stays readable on it. */
function paint(element: HTMLElement, ink: boolean, value: string, turned: boolean): void {
  const number = Number(value);
  const [name, kind] = ink ? ["--c", value.startsWith("#") ? "cl-rgb" : "cl-fg"] : ["--bg", "cl-bg"];
  if (INKS[number] && ink) element.style.color = turned ? "" : INKS[number];
  else {
    const hue = String(HUES[number % 8]);
    const colour = value.startsWith("#") ? `rgb(${value.slice(1)})` : (INKS[number] ?? (ink ? hue : `oklch(from var(--base) l c ${hue})`));
    element.style.setProperty(name, colour);
    element.classList.add(kind);
  }
}

function runElement(run: string): HTMLElement {
  if (!run.startsWith("a ")) return h("span", { class: RUN_CLASSES[run] ?? "" });
  const words = run.slice(2).split(" ");
  const link = words.find((word) => word.startsWith("l"))?.slice(1);
  // Inverse video swaps text and background. On a coloured background the text keeps the theme's colour, or many pairs would be unreadable.
  const turned = words.includes("v");
  const own = !turned && words.some((word) => /^g./.test(word));
  const element = link ? h("a", { href: link, target: "_blank", rel: "noopener noreferrer", class: "cl-a" }) : h("span", { class: "cl-a" });
  for (const word of words) {
    const value = word.slice(1);
    if (value !== "" && word[0] === "f" && own) continue;
    if (value !== "" && (word[0] === "f" || (word[0] === "g" && !turned))) paint(element, word[0] === "f", value, turned);
    else if (word[0] !== "l") element.classList.add(`cl-a${word[0]}`);
  }
  return element;
}

/** Add a text with its styles, and mark the matches. */
function writeRuns(target: HTMLElement, text: string, runs: StyleRun[], marks: number[], markHue: RowActions["markHue"]): void {
  let mark = 0;
  const write = (parent: Node, from: number, to: number): void => {
    let at = from;
    while (at < to) {
      while (mark < marks.length && marks[mark + 1] <= at) mark += 2;
      const start = mark < marks.length ? marks[mark] : to;
      if (start > at) {
        const end = Math.min(start, to);
        parent.appendChild(document.createTextNode(text.slice(at, end)));
        at = end;
      } else {
        const end = Math.min(marks[mark + 1], to);
        const hue = markHue(text.slice(start, marks[mark + 1]));
        parent.appendChild(h("mark", hue === undefined ? {} : { class: "cl-tint", style: `--h:${hue}` }, text.slice(at, end)));
        at = end;
      }
    }
  };
  let at = 0;
  let style = "";
  for (const [next, name] of [...runs, [text.length, ""] as StyleRun]) {
    const end = Math.min(next, text.length);
    if (end > at) {
      const parent = style === "" ? target : runElement(style);
      write(parent, at, end);
      if (parent !== target) target.append(parent);
    }
    at = Math.max(at, end);
    style = name;
  }
}

/** Write the times in a notice, such as `{1700000000000}`, in the user's zone. */
export function formatNotice(text: string, clockOf: (ms: number) => string): string {
  return text.replace(/\{(\d+(?:\.\d+)?)\}/g, (_all, ms: string) => clockOf(Number(ms)));
}

export interface TreeActions {
  /** Fields that rows show, in this order; empty for all. */
  chosen: readonly string[];
  choose(field: string): void;
  filter(condition: { field: string; op: string; value: string }): void;
}

const MAX_CHILDREN = 500;
/** A value with more characters than this offers no condition. */
const MAX_VALUE = 200;
/** A name that a condition can use. */
const FIELD = /^[A-Za-z_@][\w.@/-]*$/;

function actionButton(sign: string, title: string, onclick: () => void): HTMLElement {
  return h("button", { class: "cl-act", title, "aria-label": title, onclick }, sign);
}

/** Copy a value. If the page may not write to the clipboard, select it instead. */
function copy(text: string, element: HTMLElement): void {
  copyToClipboard(text).catch(() => getSelection()?.selectAllChildren(element));
}

function valueElement(value: unknown): HTMLElement {
  const number = typeof value === "number" || typeof value === "bigint";
  const style = number ? "cl-n" : typeof value === "boolean" ? "cl-bool" : value === null ? "cl-k" : "";
  const text = paintedText(String(value));
  return h("bdi", { class: text.includes("\n") ? "cl-multi" : style }, text);
}

function valueActions(field: string | null, value: unknown, element: HTMLElement, actions: TreeActions): HTMLElement {
  const text = String(value);
  const result = h("span", { class: "cl-acts" });
  if (field !== null && text !== "" && text.length <= MAX_VALUE) {
    const ops: [op: string, sign: string, title: string][] = [["=", "=", `Only lines with ${field} = ${text}`], ["!=", "≠", `Only lines with another ${field}`]];
    if (typeof value === "number") ops.push([">=", "≥", `Only lines with ${field} of at least ${text}`], ["<=", "≤", `Only lines with ${field} of at most ${text}`]);
    for (const [op, sign, title] of ops) result.append(actionButton(sign, title, () => actions.filter({ field, op, value: text })));
  }
  result.append(actionButton("⧉", "Copy the value", () => copy(text, element)));
  return result;
}

/** Return a field with the fields in it. `path` is null within a list, because conditions cannot name elements of lists. */
function fieldElement(value: unknown, key: string, path: string | null, depth: number, actions: TreeActions): HTMLElement {
  const field = path !== null && FIELD.test(path) ? path : null;
  const name = visibleText(key);
  if (typeof value !== "object" || value === null) {
    const element = valueElement(value);
    const chosen = field !== null && actions.chosen.includes(field);
    const title = chosen ? "Remove the column" : "Show this field as a column";
    const label = field === null ? h("span", { class: "cl-k" }, name) : h("button", { class: "cl-key", title, "aria-pressed": String(chosen), onclick: () => actions.choose(field) }, name);
    return h("div", { class: "cl-leaf" }, label, h("span", { class: "cl-k" }, ": "), element, valueActions(field, value, element, actions));
  }
  const entries = Object.entries(value);
  const list = Array.isArray(value);
  const size = list ? `[${entries.length}]` : `{${entries.length}}`;
  const details = h("details", depth < 3 && entries.length <= 20 ? { open: true } : {}, h("summary", {}, h("span", { class: "cl-k" }, `${name}: ${size}`)));
  details.append(...children(entries, list ? null : path, depth, actions));
  return details;
}

function children(entries: [string, unknown][], path: string | null, depth: number, actions: TreeActions): HTMLElement[] {
  const result = entries.slice(0, MAX_CHILDREN).map(([key, value]) => fieldElement(value, key, path === null ? null : path === "" ? key : `${path}.${key}`, depth + 1, actions));
  if (entries.length > MAX_CHILDREN) result.push(h("div", { class: "cl-k" }, `… ${entries.length - MAX_CHILDREN} more`));
  return result;
}

function recordTree(fields: Record<string, unknown>, actions: TreeActions): HTMLElement {
  return h("div", { class: "cl-tree" }, ...children(Object.entries(fields), "", 0, actions));
}

/** Format a line's time as the user has chosen: local, UTC, since the start, since the line before. */
function formatRowTime(time: TimeDisplay, ms: number, start: number, before: number | undefined): string {
  switch (time) {
    case "utc":
      return formatUtcClock(ms);
    case "start":
      return formatElapsed(ms - start);
    case "delta":
      return before === undefined ? "" : formatElapsed(ms - before);
    case "off":
      return "";
    case "local":
      return formatClock(ms);
  }
}

export interface RowDecorator {
  time: TimeDisplay;
  /** Start of the task (ms). */
  start: number;
  levels: boolean;
  note(row: Row): string | undefined;
}

export function decorateRow(element: HTMLElement, row: Row, before: Row | undefined, { time, start, levels, note }: RowDecorator): void {
  if (row.kind !== "line") return;
  const [edge, clockElement] = element.children as unknown as HTMLElement[];
  if (time !== "off") setText(clockElement, formatRowTime(time, row.time, start, before?.time));
  setText(edge, levels ? LEVELS[row.level] : "");
  const noted = note(row);
  setClass(element, "cl-noted", noted !== undefined);
  if (noted !== undefined && element.dataset.note !== noted) element.dataset.note = noted;
}

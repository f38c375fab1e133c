/**
 * The status bar, the problem bar and the text over empty rows: whether the log is complete and live, counts, gaps, and the way
 * to the newest line.
 */

import type { Complete, Problem } from "../protocol/events.ts";
import type { Filter } from "../protocol/requests.ts";
import type { RemoteJumpState, TaskSummary, Update } from "../protocol/update.ts";
import { formatAge, formatDay, formatShortClock, formatWeekday, groupDigits, isSameDay, roundAge, zoneName } from "../text/format.ts";
import type { TimeDisplay } from "../client/settings.ts";
import { button, h, setAttr, setClass, setHidden, setText } from "./dom.ts";
import { describeReading, filterHints } from "./filterhints.ts";
import { popover } from "./menu.ts";
import { runningProblem } from "./phases.ts";
import { formatNotice } from "./row.ts";

type Tone = "good" | "warn" | "bad" | "idle";

/** Describe what the viewer is doing: in words, which screen readers announce, by colour, and what counts up, which they do not. */
export function describeState(update: Update, follow: boolean, behind: Lag = { lines: 0, time: 0 }): [words: string, tone: Tone, counter?: string] {
  const { link, problem, tasks, newest, now, beyond } = update;
  if (beyond) return describeRemoteJump(beyond);
  const ended = tasks.filter((task) => task.ended);
  if (tasks.length > 0 && ended.length === tasks.length) {
    const failed = ended.some((task) => task.state !== "succeeded");
    return [[...new Set(ended.map(({ message }) => message))].join(" · "), failed ? "bad" : "good"];
  }
  if (link === "stopped" || problem?.task) return [`Stopped: ${problem?.message ?? ""}`, "bad"];
  // `onLine` is reliable only when it is false.
  const trying = globalThis.navigator?.onLine === false ? "Offline" : "Reconnecting";
  if (link === "reconnecting") return [trying, "warn", newest > 0 ? `, last line ${formatAge(roundAge(Math.max(0, now - newest)))} ago` : "…"];
  if (link === "waiting") return ["Waiting for the kernel", "idle"];
  if (link === "connecting") return ["Connecting…", "idle"];
  const stopped = tasks.find((task) => task.stopped)?.stopped;
  if (stopped) return [stopped, "bad"];
  const pending = tasks.find((task) => task.state === "pending");
  if (pending) return [pending.message || "Pending", "idle"];
  const troubled = tasks.find((task) => runningProblem(task) !== "");
  if (troubled && follow) return [troubled.message, "warn"];
  if (follow && update.linesBehind > 0) return ["Live", "idle", `, ${countOf(update.linesBehind, "line")} behind: the ${update.transport === "comm" ? "kernel is busy, or the connection slow" : "server cannot send faster"}`];
  return follow ? ["Live", "good"] : [behind.isHeld ? "Paused while text is selected" : "Paused", "idle", describeLag(behind)];
}

function describeRemoteJump({ state, to, what, later, message }: RemoteJumpState): ReturnType<typeof describeState> {
  if (state === "failed") return [`What is not loaded could not be searched: ${message}`, "warn"];
  if (state === "none") return [`No ${later ? "later" : "earlier"} ${what} in what is not loaded`, "idle"];
  return [`Looking for the ${later ? "next" : "previous"} ${what} in what is not loaded`, "idle", to === Infinity ? "…" : `, searched back to ${formatShortClock(to, true)}`];
}

/** How far a paused view is behind the newest line. */
export interface Lag {
  lines: number;
  /** Time (ms). */
  time: number;
  /** Following is interrupted because text is selected. */
  isHeld?: boolean;
}

function describeLag({ lines, time, isHeld }: Lag): string {
  if (lines <= 0) return "";
  return isHeld ? `, ${countOf(lines, "line")} waiting` : `: view is ${formatAge(Math.max(0, time))} behind, ${countOf(lines, "line")} waiting`;
}

function describeGaps(tasks: TaskSummary[]): string {
  const gaps = tasks.reduce((sum, task) => sum + task.gaps, 0);
  const lines = tasks.reduce((sum, task) => sum + task.gapLines, 0);
  if (gaps === 0) return "";
  return `${gaps} gap${gaps === 1 ? "" : "s"}${lines > 0 ? `, ${groupDigits(lines)} lines` : ""}`;
}

/** Describe the completeness statement: number of lines, their time range, sources and masked secrets, and whether it is complete. */
export function describeCompleteness(tasks: TaskSummary[]): string {
  const all = tasks.map(({ complete }) => complete).filter((one) => one !== null);
  if (all.length === 0 || all.length < tasks.length) return "";
  const sum = (pick: (one: Complete) => number | undefined): number => all.reduce((total, one) => total + (pick(one) ?? 0), 0);
  const times = all.flatMap(({ from, to }) => [from, to]).filter((time) => time !== null).map((time) => Date.parse(time));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const day = new Date(first).toDateString() === new Date(last).toDateString() ? "" : `${formatDay(first)} `;
  const until = day === "" ? "" : `${formatDay(last)} `;
  const span = times.length > 0 ? `${day}${formatShortClock(first, true)} to ${until}${formatShortClock(last, true)}` : "";
  const masked = sum((one) => Object.values(one.masked ?? {}).reduce((a, b) => a + b, 0));
  const whole = all.every(({ done, gaps }) => done && gaps.length === 0) ? "complete" : "";
  return [countOf(sum(({ records }) => records), "line"), span, countOf(sum(({ sources }) => sources), "source"), masked > 0 ? `${countOf(masked, "secret")} masked` : "", whole].filter(Boolean).join(", ");
}

/** Name what this user may not see beside the lines. The title names the permission that would show it. */
export function describeHidden(hidden: Record<string, string>): string {
  const names = Object.keys(hidden);
  return names.length > 0 ? `without ${names.join(" and ")}` : "";
}

/** Describe a difference between the clocks. From two seconds on, it noticeably changes which lines "the last minute" has. */
export function describeClock(ahead: number): string {
  if (Math.abs(ahead) < 2000) return "";
  return `clock of the cluster is ${(Math.abs(ahead) / 1000).toFixed(1)} s ${ahead > 0 ? "ahead" : "behind"}`;
}

function countOf(count: number, word: string): string {
  return `${groupDigits(count)} ${word}${count === 1 ? "" : "s"}`;
}

export class StatusBar {
  readonly element: HTMLElement;
  #words = h("span", { role: "status" });
  #counter = h("span", {});
  #state = h("span", { class: "cl-state" }, this.#words, this.#counter);
  #counts = h("span", {});
  #gaps = h("button", { class: "cl-gaps", title: "What is missing, and why" });
  #missing = h("dialog", { class: "cl-missing", "aria-label": "What is missing", autofocus: true, tabindex: "-1" });
  #listsGaps = false;
  #tasks: TaskSummary[] = [];
  #clock = h("span", { class: "cl-gaps" });
  #hidden = h("span", { class: "cl-faint cl-zone" });
  #transport = h("span", { class: "cl-faint cl-zone", title: "Lines come through the kernel and wait while it is busy. They bypass it if Jupyter Server has the cortex-jupyter extension and reads the same cluster and store" });
  #day = h("span", { class: "cl-zone" });
  #zone = h("span", { class: "cl-faint cl-zone", title: "How times are shown" });
  #place = h("button", { class: "cl-code", title: "Copy the visible lines as code" });
  #visible: [number, number] = [0, 0];
  #pill = button("↓ newest", "Go to the newest line and follow (End)", () => this.#newest(), { class: "cl-pill" });

  readonly #newest: () => void;

  constructor(
    newest: () => void,
    copyCode: (from: number, to: number) => void,
  ) {
    this.#newest = newest;
    this.#place.addEventListener("click", () => copyCode(...this.#visible));
    this.element = h("div", { class: "cl-status cl-foot", role: "group", "aria-label": "Status" }, this.#state, this.#counts, popover(this.#gaps, this.#missing, (isOpen) => this.#toggleGaps(isOpen)), h("span", { class: "cl-grow" }), this.#clock, this.#hidden, this.#transport, this.#day, this.#zone, this.#place, this.#pill);
  }

  /** The counts of lines and gaps, and what this user may not see. */
  get counts(): string {
    return [this.#counts, this.#gaps, this.#hidden].map(({ textContent }) => textContent).filter(Boolean).join(", ");
  }

  /** Update the texts that count up. */
  state(update: Update, follow: boolean, behind: Lag): void {
    const [words, tone, counter = ""] = describeState(update, follow, behind);
    setText(this.#words, words);
    setText(this.#counter, counter);
    setAttr(this.#state, "data-tone", tone);
  }

  update(update: Update, follow: boolean, behind: Lag): void {
    this.state(update, follow, behind);
    const { lines, shown, filtered, rate } = update;
    const rates = rate >= 1 ? ` · ${groupDigits(rate)}/s` : rate > 0 ? ` · ${rate.toFixed(1)}/s` : "";
    const counted = describeCompleteness(update.tasks);
    setText(this.#counts, `${filtered ? `${groupDigits(shown)} of ` : ""}${counted || countOf(lines, "line")}${rates}`);
    setAttr(this.#counts, "title", counted && `${groupDigits(lines)} of them are loaded`);
    this.#tasks = update.tasks;
    setText(this.#gaps, describeGaps(update.tasks));
    if (this.#listsGaps) this.#listGaps();
    setText(this.#clock, describeClock(update.clockAhead));
    const hidden = Object.assign({}, ...update.tasks.map((task) => task.hidden ?? {})) as Record<string, string>;
    setText(this.#hidden, describeHidden(hidden));
    setAttr(this.#hidden, "title", Object.values(hidden).join("; "));
    setText(this.#transport, update.transport === "comm" && ["live", "done"].includes(update.link) ? "via kernel" : "");
    setText(this.#pill, update.newestFirst ? "↑ newest" : "↓ newest");
    this.#follow(follow);
  }

  #toggleGaps(isOpen: boolean): void {
    this.#listsGaps = isOpen;
    if (isOpen) this.#listGaps();
  }

  /** List the gaps, each with its reason and how to prevent it. */
  #listGaps(): void {
    const gaps = this.#tasks.flatMap(({ missing }) => missing).map(({ text, hint }) => [formatNotice(text, (ms) => formatShortClock(ms, true)), hint]);
    // Rows that have not changed stay, so that a user can select their text.
    const { children } = this.#missing;
    while (children.length > gaps.length) this.#missing.lastChild!.remove();
    while (children.length < gaps.length) this.#missing.append(h("div", {}, h("div", {}), h("div", { class: "cl-faint" })));
    for (const [i, texts] of gaps.entries()) for (const [j, text] of texts.entries()) setText(children[i].children[j] as HTMLElement, text);
  }

  #follow(follow: boolean): void {
    setClass(this.#pill, "cl-on", follow);
    setAttr(this.#pill, "aria-pressed", String(follow));
  }

  /** Show how times are displayed, and the day and the zone of the visible lines (ms). Today needs no name. */
  zone(time: TimeDisplay, at: number): void {
    setText(this.#day, isSameDay(at, Date.now(), time === "utc") ? "" : formatWeekday(at, time === "utc"));
    setText(this.#zone, { local: zoneName(at), utc: "UTC", start: "since the start", delta: "since the line before", off: "" }[time]);
  }

  /** Show the numbers of the visible lines; null if they have no range of numbers for themselves. */
  place(first: number | null, last: number | null): void {
    setHidden(this.#place, first === null || last === null);
    if (first !== null && last !== null) this.#visible = [first, last + 1];
    setText(this.#place, first === null || last === null ? "" : `log.seq[${first}:${last + 1}]`);
  }
}

/** Explain why no line is shown; "" if no explanation is needed. */
export function describeEmpty(update: Update, { since, from }: Pick<Filter, "since" | "from">): string {
  if (update.shown > 0) return "";
  const stopped = update.tasks.find((task) => task.stopped && !task.ended)?.stopped;
  if (stopped && update.lines === 0) return stopped;
  const pending = update.tasks.find((task) => task.state === "pending" && !task.ended);
  if (pending && update.lines === 0) {
    const reason = pending.message || "Pending";
    return reason.startsWith("Log not available yet") ? reason : `Log not available yet: ${reason}`;
  }
  if (update.searching > 0) return "Searching…";
  if (update.link === "connecting" || update.link === "waiting") return update.link === "waiting" ? "Waiting for the kernel" : "Connecting…";
  if (update.filtered && update.lines > 0) return "No line matches the filter";
  if (update.lines > 0 && from !== null) return "No line in this range";
  if (update.lines > 0 && since !== null) return `No line in this window; the newest is ${formatAge(roundAge(Math.max(0, update.now - update.newest)))} old`;
  if (update.problem) return "";
  if (update.tasks.length > 0 && update.tasks.every((task) => task.ended)) return "The task wrote no lines";
  return update.link === "live" ? "No lines yet" : "";
}

export class EmptyPanel {
  #text = h("div", {});
  #olderButton = button("Load older lines", "Load older lines", () => this.#older(), { class: "btn cl-outline" });
  #reading = h("div", { class: "cl-read", hidden: true });
  #hints = h("div", { class: "cl-hints" });
  #hintsOf = "";
  readonly element = h("div", { class: "cl-empty", hidden: true }, this.#text, this.#reading, this.#hints, this.#olderButton);

  readonly #older: () => void;
  readonly #edit: (text: string) => void;

  constructor(older: () => void, edit: (text: string) => void) {
    this.#older = older;
    this.#edit = edit;
  }

  updateText(update: Update, filter: Filter): void {
    const words = describeEmpty(update, filter);
    setText(this.#text, words);
    setHidden(this.element, words === "");
  }

  /** Show how a filter that matches no line was read, and what to write instead. */
  #showHints({ filtered, lines, unmet, searching }: Update, filter: Filter): void {
    const isUnmet = filtered && lines > 0 && searching === 0;
    const reading = isUnmet ? describeReading(filter) : "";
    setText(this.#reading, reading === "" ? "" : `Read as: ${reading}`);
    setHidden(this.#reading, reading === "");
    const hints = isUnmet ? filterHints(filter, unmet) : [];
    const drawnState = JSON.stringify(hints);
    if (drawnState === this.#hintsOf) return;
    this.#hintsOf = drawnState;
    this.#hints.replaceChildren(...hints.map(({ text, typed }) => h("div", {}, typed === undefined ? text : `${text}: `, typed === undefined ? null : h("button", { class: "btn cl-outline", onclick: () => this.#edit(typed) }, typed))));
  }

  update(update: Update, filter: Filter): void {
    this.updateText(update, filter);
    if (!this.element.hidden) this.#showHints(update, filter);
    setClass(this.element, "cl-under", update.rows.some(({ kind }) => kind !== "edge"));
    const edge = update.rows[0];
    setHidden(this.#olderButton, edge?.text !== "Older lines" || update.filtered);
  }
}

export class ProblemBar {
  #text = h("span", {});
  #hint = h("span", { class: "cl-dim" });
  #error = h("span", {});
  #retryButton = button("Try again", "Try again", () => this.#retry(), { class: "btn cl-outline" });
  #dismissButton = button("×", "Dismiss", () => this.#setError(""), { class: "btn" });
  readonly element = h("div", { class: "cl-problem", role: "alert", hidden: true }, this.#text, this.#hint, this.#error, h("span", { class: "cl-grow" }), this.#retryButton, this.#dismissButton);

  readonly #retry: () => void;

  constructor(retry: () => void) {
    this.#retry = retry;
    this.#setError("");
    setHidden(this.#retryButton, true);
  }

  /** Show a problem of the server or the connection, for as long as it lasts. */
  show(problem: Problem | null, stopped: boolean): void {
    setText(this.#text, problem?.message ?? "");
    setText(this.#hint, problem?.hint ?? "");
    setHidden(this.#retryButton, !stopped);
    this.#showIfAny();
  }

  /** Show an error of the page itself, until it is dismissed. */
  showError(message: string): void {
    console.error("[cortex-jupyter]", message);
    this.#setError(message);
  }

  #setError(message: string): void {
    setText(this.#error, message);
    setHidden(this.#dismissButton, message === "");
    this.#showIfAny();
  }

  #showIfAny(): void {
    setHidden(this.element, this.#text.textContent === "" && this.#error.textContent === "");
  }
}

/** The results of a search across tasks: for each task how many lines match, and the newest of them, as the server finds them. */

import type { FoundLine, Problem, TaskSearchEvents } from "../protocol/events.ts";
import { visibleText } from "../text/ansi.ts";
import { formatShortTime, groupDigits, taskParts } from "../text/format.ts";
import { fromIso } from "../text/time.ts";
import { button, h, setHidden, setText } from "./dom.ts";
import { taskAddress } from "./tasktable.ts";

/** Lines of a task that are shown at first. */
const FIRST_LINES = 5;
/** Characters of a line that are shown, and those before its first match. */
const WIDTH = 400;
const BEFORE = 60;

interface TaskResult {
  element: HTMLElement;
  count: HTMLElement;
  list: HTMLOListElement;
  lines: FoundLine[];
  more: HTMLElement;
}

function lineCount(count: number, isExact: boolean): string {
  return `${isExact ? "" : "at least "}${groupDigits(count)} line${count === 1 ? "" : "s"}`;
}

/** Return the part of a line around its first match, with the matches marked. */
export function excerpt({ text, marks }: FoundLine): Node[] {
  // Python counts code points, a string UTF-16 units.
  const points = marks.length > 0 && /[\ud800-\udfff]/.test(text) ? [...text] : text;
  const cut = (from: number, to: number): string => (typeof points === "string" ? points.slice(from, to) : points.slice(from, to).join(""));
  const start = marks.length > 0 && marks[0][1] > WIDTH ? Math.max(0, marks[0][0] - BEFORE) : 0;
  const stop = start + WIDTH;
  const parts: (string | Node)[] = start > 0 ? ["…"] : [];
  let at = start;
  for (const [from, to] of marks) {
    if (from < at || from >= stop) continue;
    parts.push(visibleText(cut(at, from)), h("mark", {}, visibleText(cut(from, Math.min(to, stop)))));
    at = Math.min(to, stop);
  }
  parts.push(visibleText(cut(at, stop)), points.length > stop ? "…" : "");
  return parts.filter((part) => part !== "").map((part) => (typeof part === "string" ? document.createTextNode(part) : part));
}

export class TaskSearchView {
  readonly element: HTMLElement;
  readonly #summary = h("p", { role: "status" });
  /** How far the search is. Screen readers would read each change of the summary. */
  readonly #counts = h("span", { class: "count" });
  readonly #progress = h("progress", { "aria-label": "Searched tasks" });
  readonly #stop: HTMLButtonElement;
  readonly #notes = h("div", { class: "notes" });
  readonly #results = h("div");
  readonly #tasks = new Map<string, TaskResult>();
  readonly #failed: [string, Problem][] = [];
  readonly #more: Record<string, string>;
  readonly #namespace: string;
  #known: TaskSearchEvents["tasks"] = { tasks: 0, unrecorded: [], growing: [] };
  #searched = 0;
  #matches = 0;
  #withMatches = 0;
  #isExact = true;

  /** `search` is where and what is searched: links to a task's page keep its text and window. */
  constructor(search: { namespace: string; search: string; since: string }, stop: () => void) {
    this.#namespace = search.namespace;
    this.#more = { since: search.since || "all", typed: search.search };
    this.#stop = button("Stop", "Stop the search", stop);
    this.element = h("section", { class: "found", "aria-label": "Search results" }, h("div", { class: "bar" }, this.#summary, this.#counts, this.#progress, this.#stop), this.#notes, this.#results);
    this.#say("Searching…");
  }

  event<K extends keyof TaskSearchEvents>(name: K, data: TaskSearchEvents[K]): void;
  event(name: string, data: unknown): void {
    if (name === "tasks") this.#begin(data as TaskSearchEvents["tasks"]);
    else if (name === "lines") this.#add(data as TaskSearchEvents["lines"]);
    else if (name === "task") this.#endTask(data as TaskSearchEvents["task"]);
    else if (name === "progress") this.#showProgress((data as TaskSearchEvents["progress"]).matches);
    else if (name === "done") this.end();
    else if (name === "error") this.end(data as Problem);
  }

  /** Show that the search has ended, by itself, with an error, or because the user stopped it. */
  end(problem?: Problem, stopped = false): void {
    if (this.#stop.hidden) return;
    setHidden(this.#stop, true);
    setHidden(this.#progress, true);
    setHidden(this.#counts, true);
    const found = `${lineCount(this.#matches, this.#isExact && !stopped && this.#known.archive_problem === undefined)} in ${this.#withMatches} of ${this.#searched} task${this.#searched === 1 ? "" : "s"}`;
    if (problem) this.#say(`${this.#searched === 0 ? "" : `${found}. `}${problem.message}${problem.hint ? ` · ${problem.hint}` : ""}`, true);
    else this.#say(stopped ? `Stopped: ${found}; ${this.#known.tasks} were to be searched` : found);
    this.#showNotes(problem === undefined && !stopped && this.#matches === 0 && this.#failed.length === 0);
  }

  #say(text: string, isError = false): void {
    setText(this.#summary, text);
    this.#summary.classList.toggle("error", isError);
  }

  #begin(known: TaskSearchEvents["tasks"]): void {
    this.#known = known;
    this.#progress.max = Math.max(1, known.tasks);
    this.#showProgress();
  }

  #showProgress(matches = this.#matches): void {
    this.#progress.value = this.#searched;
    setText(this.#counts, `${this.#searched} of ${this.#known.tasks} tasks searched, ${lineCount(matches, true)}`);
  }

  #add({ task, records }: TaskSearchEvents["lines"]): void {
    const result = this.#tasks.get(task) ?? this.#addTask(task);
    result.lines.push(...records);
    result.lines.sort((a, b) => fromIso(b.time) - fromIso(a.time) || b.seq - a.seq);
    if (result.lines.length - records.length < FIRST_LINES) this.#drawLines(task, result, FIRST_LINES);
  }

  #addTask(task: string): TaskResult {
    const { namespace, kind, name } = taskParts(task);
    const count = h("span", { class: "count" });
    const list = h("ol");
    const more = h("p", { class: "more" });
    const title = h("a", { href: taskAddress(task), title: task }, h("span", { class: "kind" }, `${namespace === this.#namespace ? "" : `${namespace}:`}${kind}/`), name);
    const element = h("article", {}, h("h2", {}, title, count), list, more);
    const result = { element, count, list, more, lines: [] };
    this.#tasks.set(task, result);
    this.#results.append(element);
    return result;
  }

  #drawLines(task: string, { list, lines }: TaskResult, count: number): void {
    list.replaceChildren(...lines.slice(0, count).map((line) => {
      const source = line.role && line.rank ? `${line.role}-${line.rank}` : line.pod;
      // The page of the task opens beside this one, which keeps the results.
      const address = taskAddress(task, { since: "all", at: line.time, line: String(line.seq) });
      const time = h("time", { datetime: line.time }, formatShortTime(fromIso(line.time)));
      return h("li", { "data-level": line.level ?? "" }, h("a", { href: address, target: "_blank", rel: "noopener", title: `${line.time} ${line.pod}/${line.container}` }, time, h("span", { class: "pod" }, source), h("span", { class: "text" }, ...excerpt(line))));
    }));
  }

  #endTask({ task, matches, all, error }: TaskSearchEvents["task"]): void {
    if (error === undefined) this.#searched++;
    else this.#failed.push([task, error]);
    this.#matches += matches;
    this.#isExact &&= all;
    if (matches > 0) {
      this.#withMatches++;
      const result = this.#tasks.get(task) ?? this.#addTask(task);
      setText(result.count, lineCount(matches, all));
      this.#offerMore(task, result, matches);
    }
    this.#showProgress();
  }

  #offerMore(task: string, result: TaskResult, matches: number): void {
    const here = result.lines.length - FIRST_LINES;
    const expand = button(`${groupDigits(here)} more`, `Show ${here} more lines of this task`, () => {
      this.#drawLines(task, result, result.lines.length);
      expand.remove();
      result.list.querySelectorAll("a")[FIRST_LINES]?.focus();
    });
    const all = h("a", { href: taskAddress(task, this.#more), target: "_blank", rel: "noopener" }, `all ${groupDigits(matches)} in the viewer`);
    result.more.replaceChildren(...(here > 0 ? [expand] : []), ...(matches > FIRST_LINES ? [all] : []));
  }

  /** Show what was not searched, and with `isEmpty` what may help to find something. */
  #showNotes(isEmpty: boolean): void {
    const { unrecorded, growing, problem, archive_problem: archiveProblem } = this.#known;
    const links = (tasks: string[]): HTMLElement => h("ul", {}, ...tasks.map((task) => h("li", {}, h("a", { href: taskAddress(task) }, task))));
    const note = (text: string, ...more: HTMLElement[]): HTMLElement => (more.length === 0 ? h("p", {}, text) : h("details", {}, h("summary", {}, text), ...more));
    const tasks = (count: number): string => `${count} task${count === 1 ? "" : "s"}`;
    const failures = h("ul", {}, ...this.#failed.map(([task, { message }]) => h("li", {}, h("a", { href: taskAddress(task) }, task), `: ${message}`)));
    this.#notes.replaceChildren(...[
      isEmpty && note("No line matches. A text without capital letters matches in any case; put a text with operators into double quotes to find it as it is."),
      problem && note(`The cluster cannot be asked: ${problem.message}. Only recorded tasks were searched.`),
      archiveProblem && note(`Archived tasks were not searched: ${archiveProblem.message}`),
      this.#failed.length > 0 && note(`${tasks(this.#failed.length)} could not be searched`, failures),
      unrecorded.length > 0 && note(`${tasks(unrecorded.length)} without a recording ${unrecorded.length === 1 ? "was" : "were"} not searched; opening one records it`, links(unrecorded)),
      growing.length > 0 && note(`${tasks(growing.length)} ${growing.length === 1 ? "is" : "are"} not being recorded now, so the newest lines may be missing`, links(growing)),
    ].filter((one) => one instanceof HTMLElement));
  }
}

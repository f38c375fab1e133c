/** The list of tasks on the page of its own. It is drawn once and then changed where rows change: a namespace may have a thousand tasks. */

import type { TaskRow } from "../protocol/events.ts";
import { formatShortTime } from "../text/format.ts";
import { h, setAttr, setHidden, setText } from "./dom.ts";

const COLUMNS = ["state", "status", "restarts", "started", "finished", "exit_code", "pods"] as const;

interface DrawnRow {
  element: HTMLTableRowElement;
  choice: HTMLInputElement;
  cells: HTMLTableCellElement[];
  /** What the row is found by. */
  words: string;
}

/** Return the address of a task's page. */
export function taskAddress(task: string, more: Record<string, string> = {}): string {
  return `view?${new URLSearchParams({ task, ...more })}`;
}

export class TaskTable {
  readonly element: HTMLElement;
  readonly #body = h("tbody");
  readonly #table: HTMLTableElement;
  readonly #filter: HTMLInputElement;
  readonly #all: HTMLInputElement;
  readonly #count = h("span", { class: "count" });
  readonly #empty = h("p");
  readonly #bar: HTMLElement;
  readonly #rows = new Map<string, DrawnRow>();
  #order = "";

  /** `chosen` is called when the user has chosen other tasks. */
  constructor(readonly chosen: (tasks: string[]) => void) {
    this.#filter = h("input", { type: "text", placeholder: "Filter tasks by name or state", "aria-label": "Filter tasks", spellcheck: "false", autocomplete: "off", oninput: () => this.#applyFilter() });
    this.#all = h("input", { type: "checkbox", "aria-label": "Choose all tasks in sight for a search", title: "Choose all tasks in sight for a search", onchange: () => this.#chooseAll() });
    const head = h("tr", {}, h("th", { scope: "col", class: "choice" }, h("span", { class: "unseen" }, "chosen"), this.#all), ...["task", ...COLUMNS].map((name) => h("th", { scope: "col", "data-column": name }, name.replace("_", " "))));
    this.#table = h("table", {}, h("thead", {}, head), this.#body);
    this.#bar = h("div", { class: "bar" }, this.#filter, this.#count);
    this.element = h("section", { class: "tasks" }, this.#bar, this.#empty, h("div", { class: "wide" }, this.#table));
  }

  /** The tasks that the user has chosen, in the order of the list. */
  get choice(): string[] {
    return [...this.#rows].filter(([, row]) => row.choice.checked).map(([task]) => task);
  }

  get isEmpty(): boolean {
    return this.#rows.size === 0;
  }

  clearChoice(): void {
    for (const { choice } of this.#rows.values()) choice.checked = false;
    this.#all.checked = false;
    this.chosen([]);
  }

  /** Show these tasks. Rows that were shown before keep their choice and focus. */
  show(tasks: TaskRow[]): void {
    const before = this.choice.length;
    const present = new Set(tasks.map(({ task }) => task));
    for (const [task, { element }] of this.#rows) {
      if (present.has(task)) continue;
      element.remove();
      this.#rows.delete(task);
    }
    for (const task of tasks) this.#update(task);
    const order = tasks.map(({ task }) => task).join("\n");
    if (order !== this.#order) {
      this.#order = order;
      // Moving a row that has the focus would lose it, so only rows out of place move.
      let next = this.#body.firstElementChild;
      for (const { task } of tasks) {
        const { element } = this.#rows.get(task)!;
        if (element === next) next = next.nextElementSibling;
        else this.#body.insertBefore(element, next);
      }
      // In the order of the list, for `choice`.
      for (const { task } of tasks) {
        const row = this.#rows.get(task)!;
        this.#rows.delete(task);
        this.#rows.set(task, row);
      }
    }
    this.#applyFilter();
    if (this.choice.length !== before) this.chosen(this.choice);
  }

  clear(message = ""): void {
    this.show([]);
    setText(this.#empty, message);
    setHidden(this.#empty, message === "");
  }

  #chooseAll(): void {
    for (const { element, choice } of this.#rows.values()) choice.checked = this.#all.checked && !element.hidden;
    this.chosen(this.choice);
  }

  #update(task: TaskRow): void {
    let row = this.#rows.get(task.task);
    if (row === undefined) {
      const label = `Choose ${task.task} for a search`;
      const choice = h("input", { type: "checkbox", "aria-label": label, title: label, onchange: () => this.chosen(this.choice) });
      const cells = COLUMNS.map((name) => h("td", { "data-column": name }));
      const link = h("a", { href: taskAddress(task.task) }, h("span", { class: "kind" }, `${task.kind}/`), task.name);
      row = { choice, cells, words: "", element: h("tr", {}, h("td", { class: "choice" }, choice), h("td", {}, link), ...cells) };
      this.#rows.set(task.task, row);
    }
    row.words = `${task.task} ${task.state} ${task.status ?? ""}`.toLowerCase();
    setAttr(row.cells[0], "data-state", task.state);
    for (const [i, name] of COLUMNS.entries()) {
      const value = task[name] ?? "";
      const isTime = (name === "started" || name === "finished") && value !== "";
      setText(row.cells[i], isTime ? formatShortTime(Date.parse(String(value))) : String(value));
      if (isTime) setAttr(row.cells[i], "title", String(value));
    }
    if (task.message) setAttr(row.cells[0], "title", task.message);
  }

  #applyFilter(): void {
    const words = this.#filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of this.#rows.values()) {
      const hidden = !words.every((word) => row.words.includes(word));
      setHidden(row.element, hidden);
      if (!hidden) shown++;
    }
    const all = this.#rows.size;
    setText(this.#count, shown < all ? `${shown} of ${all} tasks` : `${all} task${all === 1 ? "" : "s"}`);
    setHidden(this.#table, all === 0);
    setHidden(this.#bar, all === 0);
    setText(this.#empty, all === 0 ? "There are no tasks." : shown === 0 ? "No task has these words in its name or state." : "");
    setHidden(this.#empty, shown > 0);
  }
}

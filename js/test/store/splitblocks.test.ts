/// <reference types="node" />
/** A traceback that the border between two pages has cut is one again, whichever part came first. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { PageRecord } from "../../src/protocol/events.ts";
import { Selection } from "../../src/store/selection.ts";
import type { UnloadedSpan } from "../../src/store/spans.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { type Line, logEvent, T0, TASK, W0, W1 } from "../helpers.ts";

interface BlockCase {
  name: string;
  lines: [source: string, text: string][];
  blocks: { rows: number[] }[];
}

const CASES = (JSON.parse(readFileSync(new URL("../../../tests/parsing/fixtures/blocks.json", import.meta.url), "utf8")) as BlockCase[]).filter(({ lines }) => new Set(lines.map(([source]) => source)).size <= 2);

/** A task's lines, numbered from 1, of which parts come as pages. */
class Task {
  readonly store = new TaskStore(TASK);
  readonly selection = new Selection([this.store], fromPlain({ since: "all" }).filter);
  #sources: string[];

  constructor(readonly lines: [source: string, text: string][]) {
    this.#sources = [...new Set(lines.map(([source]) => source))];
  }

  #take(add: () => void): void {
    const before = this.store.rows;
    add();
    if (this.store.hasReplacedRows) this.selection.removeEvicted();
    this.store.hasReplacedRows = false;
    this.selection.removeJoining(this.store);
    this.store.folds.settle();
    this.selection.addRows(this.store, before, this.store.rows);
  }

  stream(from: number, to: number): void {
    const lines = this.lines.slice(from, to).map(([source, text], i): Line => [T0 + from + i, (this.#sources.indexOf(source) + 1) as 1 | 2, text]);
    if (lines.length > 0) this.#take(() => this.store.addLog(logEvent(from + 1, lines)));
  }

  page(from: number, to: number, span?: UnloadedSpan): void {
    const records = this.lines.slice(from, to).map(([source, text], i): PageRecord => {
      const { pod } = this.#sources.indexOf(source) === 0 ? W0 : W1;
      return { seq: from + i + 1, time: new Date(T0 + from + i).toISOString(), pod, container: "main", run: 0, stream: "stdout", text };
    });
    this.#take(() => this.store.addPage({ records, older: "o" }, span));
  }

  /** A page between what is here on both sides. */
  between(from: number, to: number): void {
    let span: UnloadedSpan | undefined;
    const [low, high] = [T0 + from - 1, T0 + to];
    this.#take(() => (span = this.store.addSpan({ from: low, to: high, low, high, lines: to - from, until: Infinity, onDemand: false })));
    this.store.closeSpan(span!);
    this.selection.removeRow(this.store, span!.row);
    this.page(from, to, span);
  }

  /** What belongs together, by number: heads with what is below them. */
  get folded(): number[][] {
    const { folds, seq } = this.store;
    return [...folds.heads].filter(([, { traceback }]) => traceback !== null).map(([head]) => [head, ...folds.membersOf(head)].map((row) => seq[row])).toSorted((a, b) => a[0] - b[0]);
  }

  /** The lines as they are shown, all folds open. */
  get shown(): string[] {
    const { selection, store } = this;
    for (const head of store.folds.heads.keys()) if (!selection.opened.has(head)) selection.toggleFold(head);
    while (selection.search(false));
    return Array.from({ length: selection.shown.length }, (_unused, i) => store.texts[selection.rowOf(selection.shown.at(i))]);
  }
}

describe.each(CASES)("$name", ({ lines, blocks }) => {
  const whole = new Task(lines);
  whole.stream(0, lines.length);
  const { folded, shown } = whole;

  it("has the rows that Python finds", () => {
    expect(folded).toEqual(blocks.map(({ rows }) => rows.map((row) => row + 1)));
  });

  it("is rejoined wherever it is split, the older part last", () => {
    for (let cut = 1; cut < lines.length; cut++) {
      const task = new Task(lines);
      task.stream(cut, lines.length);
      task.page(0, cut);
      expect([cut, task.folded]).toEqual([cut, folded]);
      expect([cut, task.shown]).toEqual([cut, shown]);
      expect([task.store.lines, task.store.characters]).toEqual([whole.store.lines, whole.store.characters]);
    }
  });

  it("is rejoined from three parts, the middle last", () => {
    for (let cut = 1; cut + 2 < lines.length; cut++) {
      const task = new Task(lines);
      task.stream(cut + 2, lines.length);
      task.page(0, cut);
      task.between(cut, cut + 2);
      expect([cut, task.folded]).toEqual([cut, folded]);
    }
  });
});

it("stays split if lines in between are missing", () => {
  const lines: [string, string][] = [["a", "Traceback (most recent call last):"], ["a", '  File "x.py", line 1, in f'], ["b", "between"], ["a", "    1 / 0"], ["a", "ZeroDivisionError: no"]];
  const task = new Task(lines);
  task.stream(3, 5);
  task.page(0, 2);
  expect(task.folded).toEqual([[1, 2]]);
  task.page(2, 3);
  expect(task.folded).toEqual([[1, 2]]);
});

it("continues where its source left off when its beginning arrives", () => {
  const lines: [string, string][] = ["Traceback (most recent call last):", '  File "x.py", line 1, in f', "    1 / 0", "ZeroDivisionError: no", "", "During handling of the above exception, another exception occurred:", "", "Traceback (most recent call last):", '  File "x.py", line 3, in g', "    f()", "KeyError: 'x'", "step 1"].map((text) => ["a", text]);
  const task = new Task(lines);
  task.stream(3, 9);
  task.page(0, 3);
  task.stream(9, 12);
  expect(task.shown).toEqual(lines.map(([, text]) => text));
});

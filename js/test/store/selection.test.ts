/** The rows that a view shows: the matches of its filter, the lines around them, and the notices among them. */

import { expect, it, vi } from "vitest";
import { fromPlain, type PlainSettings } from "../../src/client/settings.ts";
import { findDestination } from "../../src/store/jump.ts";
import { buildLayout, DisplayOrder, findTicks } from "../../src/store/layout.ts";
import { RowSequence } from "../../src/store/sequence.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { View, type ViewContext } from "../../src/store/view.ts";
import { type Line, logEvent, ns, T0, TASK, W0, W1 } from "../helpers.ts";

const CONTEXT: ViewContext = { now: T0 + 1_000_000, live: true, loading: false, shared: { link: "live", transport: "sse", linesBehind: 0, problem: null, tasks: [], clockAhead: 0 } };

function viewOf(store: TaskStore, plain: PlainSettings, newestFirst = false): View {
  return new View("v", "m", [store], fromPlain({ since: "all", ...plain }).filter, { from: 0, count: 100, follow: true, newestFirst, anchor: null, anchorIndex: 0 });
}

/** Add rows to a task and its view, and search them. */
function fill(store: TaskStore, { selection }: Pick<View, "selection">, add: () => void): void {
  const before = store.rows;
  add();
  selection.addRows(store, before, store.rows);
  while (selection.search(true));
}

function write(store: TaskStore, view: Pick<View, "selection">, seq: number, ...lines: Line[]): void {
  fill(store, view, () => store.addLog(logEvent(seq, lines)));
}

function gap(store: TaskStore, view: View, seq: number): void {
  fill(store, view, () => store.addGap({ task: TASK, seq, from: ns(T0 + seq), to: ns(T0 + seq + 1), reason: "rotated", source: W0 }));
}

/** The displayed rows: context in brackets, and a bar where lines are left out. */
function displayed(view: View): string {
  const rows = view.update(CONTEXT).rows.filter(({ kind }) => kind !== "edge");
  return rows.map(({ kind, text, isContext, isApart }) => `${isApart ? "|" : ""}${kind !== "line" ? `<${kind}>` : isContext ? `(${text})` : text}`).join(" ");
}

it("lines that come live are context behind any number of lines of hidden sources", () => {
  const store = new TaskStore(TASK);
  const view = viewOf(store, { typed: "x", around: 2, pod: W0.pod });
  write(store, view, 0, [T0, 1, "x"]);
  for (let i = 1; i <= 5; i++) write(store, view, i, [T0 + i, 2, "hidden"]);
  write(store, view, 6, [T0 + 10, 1, "a"]);
  write(store, view, 7, [T0 + 11, 1, "b"]);
  expect(displayed(view)).toBe("x (a) (b)");
});

it("a gap is no match: it brings no context, does not count, and n does not stop at it", () => {
  const store = new TaskStore(TASK);
  const view = viewOf(store, { typed: "x", around: 1 });
  write(store, view, 0, [T0, 1, "a"], [T0 + 1, 1, "b"]);
  gap(store, view, 2);
  write(store, view, 3, [T0 + 4, 1, "c"]);
  expect(displayed(view)).toBe("<gap>");
  expect(view.update(CONTEXT)).toMatchObject({ shown: 0, unmet: { fields: [] } });
  write(store, view, 4, [T0 + 5, 1, "d"], [T0 + 6, 1, "x1"]);
  gap(store, view, 8);
  write(store, view, 9, [T0 + 10, 1, "e"], [T0 + 11, 1, "x2"]);
  expect(view.update(CONTEXT).shown).toBe(2);
  const { selection } = view;
  const next = (from: number | null, by: 1 | -1): string => store.texts[selection.rowOf(findDestination({ to: "match", by, from }, selection, selection.finder, -Infinity)!)];
  const idOf = (text: string): number => Array.from({ length: selection.shown.length }, (_unused, i) => selection.shown.at(i)).find((id) => store.texts[selection.rowOf(id)] === text)!;
  expect([next(null, 1), next(idOf("x1"), 1), next(idOf("x2"), 1), next(idOf("x2"), -1), next(idOf("x1"), -1)]).toEqual(["x1", "x2", "x1", "x1", "x2"]);
});

it("notices among the lines of a stream bring no lines of the other one, and do not count", () => {
  const store = new TaskStore(TASK);
  const view = viewOf(store, { stream: "stderr", around: 1 });
  write(store, view, 0, [T0, 1, "a"]);
  fill(store, view, () => store.addStatus({ task: TASK, seq: 1, notice: "started", time: ns(T0 + 2), source: W1, message: "" } as never));
  write(store, view, 2, [T0 + 3, 1, "b"]);
  expect(displayed(view)).toBe("<notice>");
  expect(view.update(CONTEXT).shown).toBe(0);
});

it("a notice is no match of a filter on sources", () => {
  const store = new TaskStore(TASK);
  const view = viewOf(store, { pod: W0.pod });
  write(store, view, 0, [T0, 1, "a"], [T0 + 1, 2, "hidden"]);
  gap(store, view, 2);
  expect(displayed(view)).toBe("a <gap>");
  expect(view.update(CONTEXT)).toMatchObject({ shown: 1, lines: 2 });
});

it("part of a line is no context", () => {
  const around = (value: unknown): number => fromPlain({ around: value } as PlainSettings).filter.around;
  expect([1.5, 0.4, -1, 1e9, "3", "x"].map(around)).toEqual([2, 0, 0, 100, 3, 0]);
});

it("with the newest on top, an open traceback is not apart from the lines around it", () => {
  const store = new TaskStore(TASK);
  const view = viewOf(store, { typed: "ValueError", around: 1 }, true);
  write(store, view, 0, ...["older", "before", "Traceback (most recent call last):", '  File "a.py", line 1, in f', "    x", "ValueError: bad", "after", "later", "newer ValueError"].map((text, i): Line => [T0 + i, 1, text]));
  expect(displayed(view)).toBe("newer ValueError (later) (after) ValueError: bad (before)");
  view.selection.toggleFold(view.update(CONTEXT).rows.find(({ fold }) => fold)!.id);
  expect(displayed(view)).not.toContain("|");
  expect(displayed(view)).toMatch(/^newer ValueError \(later\) \(after\) ValueError: bad .* \(before\)$/);
});

it("matches on both sides of lines that are not loaded are apart", () => {
  const store = new TaskStore(TASK);
  const view = viewOf(store, { typed: "x", around: 1 });
  write(store, view, 0, [T0, 1, "x1"]);
  fill(store, view, () => store.addSpan({ from: T0, to: T0 + 100, low: T0 + 1, high: T0 + 99, lines: 50, until: 60, onDemand: true } as never));
  write(store, view, 60, [T0 + 100, 1, "x2"]);
  expect(displayed(view)).toBe("x1 |x2");
});

it("many lines of hidden sources cost little where context is sought", () => {
  const store = new TaskStore(TASK);
  const view = viewOf(store, { typed: "x", around: 10, pod: W0.pod });
  write(store, view, 0, [T0, 1, "x1"]);
  write(store, view, 1, ...Array.from({ length: 20_000 }, (_unused, i): Line => [T0 + 1 + i, 2, "hidden"]));
  write(store, view, 20_001, [T0 + 30_000, 1, "x2"]);
  const tests = vi.spyOn(view.selection, "isSourceShown");
  write(store, view, 20_002, [T0 + 30_001, 1, "x3"]);
  // After so many rows it is not known whether lines are left out.
  expect(displayed(view)).toBe("x1 |x2 x3");
  expect(tests.mock.calls.length).toBeLessThan(8000);
});

it("ticks of find: one look at each row, also if all match", () => {
  const store = new TaskStore(TASK);
  const { selection } = viewOf(store, {});
  write(store, { selection }, 0, ...Array.from({ length: 20_000 }, (_unused, i): Line => [T0 + i, 1, i < 15_000 ? "step" : "other"]));
  selection.finder.set("step");
  while (selection.search(true));
  const count = 18_000;
  const layout = buildLayout(selection, 2000, count, -Infinity);
  const order = new DisplayOrder(selection, layout, 2000, 20_000, false);
  const reads = vi.spyOn(RowSequence.prototype, "at");
  const { found } = findTicks(selection, { start: 2000, count, layout, order });
  expect(found).toEqual(Array.from({ length: 289 }, (_unused, i) => i));
  expect(reads.mock.calls.length).toBeLessThan(3 * count);
  reads.mockRestore();
});

import { expect, it } from "vitest";
import { fromPlain } from "../../src/client/settings.ts";
import { EDGE_ID } from "../../src/store/slice.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { View, type ViewContext } from "../../src/store/view.ts";
import { type Line, logEvent, T0, TASK } from "../helpers.ts";

const CONTEXT: ViewContext = { now: T0, live: false, loading: false, shared: { link: "done", transport: "sse", linesBehind: 0, problem: null, tasks: [], clockAhead: 0 } };
const at = (ms: number): string => new Date(ms).toISOString();

function viewOf(lines: Line[], settings: object = { since: "all" }): View {
  const store = new TaskStore(TASK);
  store.addLog(logEvent(0, lines));
  return new View("v1", "m1", [store], fromPlain(settings).filter, { from: 0, count: 50, follow: true, anchor: null, anchorIndex: 0 });
}

const saved = (view: View, to: number | null = null): string[] => view.lastRows(CONTEXT, to, 200).map(({ text }) => text);

it("a view that was never drawn, or was made again for renumbered rows, has its last rows", () => {
  const view = viewOf([[T0, 1, "one"], [T0 + 1, 1, "two"], [T0 + 2, 1, "three"]]);
  expect(saved(view)).toEqual(["one", "two", "three"]);
  view.update(CONTEXT);
  expect(saved(view.recreate(view.selection.stores, view.viewport))).toEqual(["one", "two", "three"]);
});

it("rows that came after the last update are among them", () => {
  const view = viewOf([[T0, 1, "one"]]);
  view.update(CONTEXT);
  const [store] = view.selection.stores;
  store.addLog(logEvent(1, [[T0 + 1, 1, "two"]]));
  view.selection.addRows(store, 1, store.rows);
  expect(saved(view)).toEqual(["one", "two"]);
});

it("they are within the window", () => {
  expect(saved(viewOf([[T0 - 2000, 1, "before"], [T0 - 1000, 1, "one"], [T0, 1, "after"]], { since: at(T0 - 1500), until: at(T0 - 500) }))).toEqual(["one"]);
});

it("a paused view's rows end at the last visible one; after a renumbering, whose ids the page does not know, at the row that it holds", () => {
  const view = viewOf([[T0, 1, "one"], [T0 + 1, 1, "two"], [T0 + 2, 1, "three"]]);
  const id = view.selection.shown.at(1);
  view.viewport = { ...view.viewport, follow: false, anchor: id };
  view.update(CONTEXT);
  expect(saved(view, id)).toEqual(["one", "two"]);
  expect(saved(view.recreate(view.selection.stores, view.viewport), 999)).toEqual(["one", "two"]);
  for (const anchor of [null, EDGE_ID]) expect(saved(view.recreate(view.selection.stores, { ...view.viewport, anchor }), 999)).toEqual(["one", "two", "three"]);
});

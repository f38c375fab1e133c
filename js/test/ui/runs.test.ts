// @vitest-environment happy-dom
/** The runs of a container that was restarted, in the side list: each chosen or hidden by itself. */

import { expect, it } from "vitest";
import type { LogEvent, OutlineDoc, SourceInfo } from "../../src/protocol/events.ts";
import { Outline } from "../../src/store/spans.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { View } from "../../src/store/view.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { ns, sse, T0, TASK, W0, W1 } from "../helpers.ts";
import { all, messages, model, next, page, settle, show } from "../page.ts";

page({ now: T0 + 1000, faked: ["performance"] });

const texts = (): string[] => messages().filter((text) => text.startsWith("line"));
const side = (): string[] => all(".cl-src").map((row) => `${row.getAttribute("class")!.includes("cl-off") ? "- " : ""}${row.querySelector(".cl-sn")!.textContent}: ${row.querySelector("small")!.textContent}`);
const press = async (selector: string, row: number): Promise<void> => {
  all(".cl-src")[row].querySelector<HTMLElement>(selector)!.click();
  await settle(500);
};

async function tell(event: string, data: object): Promise<void> {
  model.bytes(sse(event, { task: TASK, seq: next.seq++, ...data }, `c${next.seq}`));
  await settle(300);
}

async function run(of: SourceInfo, number: number, at: number, exit?: number, more: object = {}): Promise<void> {
  const source = { ...of, run: number };
  await tell("status", { notice: "started", time: ns(T0 + at), source, ...more });
  const log: Partial<LogEvent> = { sources: { 1: source }, t0: ns(T0 + at + 10), dt: [0, 1e6], s: [1, 1], m: [`line ${of.pod.at(-1)}.${number} a`, `line ${of.pod.at(-1)}.${number} b`] };
  await tell("log", log);
  next.seq++;
  if (exit !== undefined) await tell("status", { notice: "ended", time: ns(T0 + at + 20), source, exit_code: exit, reason: exit ? "Error" : "Completed" });
}

async function showRuns(traits: Record<string, unknown> = {}): Promise<void> {
  show(traits);
  await settle();
  next.seq = 1;
  await run(W0, 0, 0, 1);
  await run(W1, 0, 1);
  await run(W0, 1, 100, 137);
  await run(W0, 2, 200);
}

it("opens with state, exit code and lines of each run", async () => {
  await showRuns();
  expect(side()).toEqual(["worker-0: 6", "worker-1: 2"]);
  const fold = all(".cl-runs")[0];
  expect([fold.textContent, fold.getAttribute("aria-expanded"), fold.getAttribute("aria-label")]).toEqual(["↻2", "false", "Restarted 2 times: show its runs"]);
  expect(all(".cl-runs")[1].hidden).toBe(true);
  await press(".cl-runs", 0);
  expect(side()).toEqual(["worker-0: 6", "run 0: exit 1 2", "run 1: exit 137 2", "run 2: 2", "worker-1: 2"]);
  expect(all(".cl-src")[2].querySelector(".cl-only")!.getAttribute("aria-label")).toBe("run 1 of worker-0, failed, exit 137, 2 lines: show only this run");
  await press(".cl-runs", 0);
  expect(side()).toHaveLength(2);
});

it("shows one run alone, and all again", async () => {
  await showRuns();
  await press(".cl-runs", 0);
  await press(".cl-only", 2);
  expect(texts()).toEqual(["line 0.1 a", "line 0.1 b"]);
  expect(side()).toEqual(["worker-0: 6", "- run 0: exit 1 2", "run 1: exit 137 2", "- run 2: 2", "- worker-1: 2"]);
  expect(all(".cl-runs")[0].getAttribute("aria-expanded")).toBe("true");
  await settle(1500);
  expect(model.traits.view).toMatchObject({ shown: { run: `${W0.pod}/main/1` } });
  await press("[role=switch]", 1);
  expect(texts()).toEqual(["line 0.0 a", "line 0.0 b", "line 0.1 a", "line 0.1 b"]);
  await press("[role=switch]", 0);
  expect(texts()).toEqual([]);
  await press("[role=switch]", 0);
  await press(".cl-only", 2);
  await press(".cl-only", 2);
  expect(texts()).toHaveLength(8);
});

it("shows the runs that Python asks for, counted from the newest, also when there is a newer one", async () => {
  await showRuns({ query: { since: "all", run: "-2" } });
  expect(texts()).toEqual(["line 0.1 a", "line 0.1 b"]);
  expect(all(".cl-chips .cl-cw").map((chip) => chip.textContent)).toEqual(["run -2"]);
  await run(W0, 3, 300);
  expect(texts()).toEqual(["line 0.2 a", "line 0.2 b"]);
  await press(".cl-only", 0);
  expect(texts()).toHaveLength(8);
});

it("counts lines that are not loaded, once the server has counted them", () => {
  const store = new TaskStore(TASK);
  const selection = (): View => new View("v", "m", [store], fromPlain({ since: "all" }).filter, { from: 0, count: 9, follow: true, anchor: null, anchorIndex: 0 });
  store.addLog({ task: TASK, seq: 91, sources: { 1: { ...W0, run: 1 } }, t0: ns(T0), dt: [0, 1e6], s: [1, 1], m: ["a", "b"] });
  const doc: OutlineDoc = { records: 91, upto: 91, first: ns(T0 - 9), last: ns(T0), start: ns(T0 - 9), width: "1000000", lines: [91], notices: [], counted: 40, warnings: [0], errors: [0] };
  const sources = [{ ...W0, lines: 60 }, { ...W0, run: 1, lines: 31 }];
  store.setOutline(new Outline(doc), [], sources);
  expect(selection().groups.summaries()[0].runs.map(({ lines, state }) => [lines, state])).toEqual([[0, "ended"], [2, "running"]]);
  store.setOutline(new Outline({ ...doc, counted: 91 }), [], sources);
  expect(selection().groups.summaries()[0].runs.map(({ lines }) => lines)).toEqual([60, 32]);
  store.addLog({ task: TASK, seq: 93, sources: { 1: { ...W0, run: 1 } }, t0: ns(T0), dt: [0], s: [1], m: ["c"] });
  expect(selection().groups.summaries()[0]).toMatchObject({ lines: 93, state: "running" });
});

it("lists the pods of an indexed Job by index", async () => {
  await showRuns();
  await tell("status", { notice: "started", time: ns(T0 + 400), source: { ...W0, run: 3 }, index: 11 });
  await tell("status", { notice: "started", time: ns(T0 + 400), source: { ...W1, run: 1 }, index: 2 });
  expect(side()).toEqual(["#2: 2", "#11: 6"]);
  expect(all("[data-seq] .cl-s")[0].textContent).toBe("#11");
});

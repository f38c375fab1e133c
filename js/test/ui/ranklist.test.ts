// @vitest-environment happy-dom
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { SourceInfo } from "../../src/protocol/events.ts";
import type { RankStrip } from "../../src/ui/ranklist.ts";
import { bytesOf, ns, sse, T0, TASK } from "../helpers.ts";
import { all, feed, find, model, next, page, settle, show } from "../page.ts";

page({ now: T0 + 100_000, settled: 700 });
beforeEach(() => void vi.spyOn(console, "warn").mockImplementation(() => {}));

const rank = (name: string, more: Partial<RankStrip> = {}): RankStrip => ({ name, note: "", label: "step 9, 2 s each", start: 0, end: 1, pace: [1, 1, null, 0.5], lag: [0, 0, 0, 0], last_step: 1, error: null, ended: "", pod: name, container: "main", seq: 1, ...more });
const FOUND = {
  ranks: [rank("worker-0"), rank("worker-1", { note: "slow", label: "slow, step 5, 4 s each", lag: [0, 0.5, 1, 1] }), rank("worker-2", { note: "silent", label: "silent 40 s, step 3", pace: [1, 0, null, 0], last_step: 0.25 }), rank("worker-3", { note: "failed first", ended: "failed", error: 0.9 })],
  left_out: 0,
  from: T0 * 1e6,
  to: (T0 + 60_000) * 1e6,
  hang: "no step since 10:31:04, usually every 2.1 s (p99 4 s)",
};

const asked = (): Record<string, unknown>[] => model.sent.filter(({ type }) => type === "ranks");
function answer(events: string): void {
  const { client, id } = asked().at(-1)!;
  model.emit("msg:custom", { client, id, type: "found" }, [new DataView(bytesOf(events).buffer)]);
  model.emit("msg:custom", { client, id, type: "found", done: true });
}
const picked = (): (string | null)[] => all(".cl-picked .cl-m").map(({ textContent }) => textContent);
const press = (element: Element, key: string): void => void element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const tab = (name: string): HTMLElement => all(".cl-pats .cl-seg button").find(({ textContent }) => textContent === name)!;

async function open(): Promise<void> {
  show();
  await feed([T0, 1, "step 1 loss=2"], [T0 + 1000, 1, "step 2 loss=1"]);
  press(find(".cl-rows"), "P");
  await settle();
  tab("Ranks").click();
  await settle();
}

describe("the ranks of a task", () => {
  it("are strips, of which those that stand out have a tone", async () => {
    await open();
    expect(asked()).toMatchObject([{ task: TASK }]);
    expect(model.traits.panel).toBe("ranks");
    answer(sse("progress", { looked: 2, lines: 2 }) + sse("ranks", FOUND) + sse("done", { looked: 2, lines: 2 }));
    await settle();
    const rows = all(".cl-rank[role]");
    expect(rows.map((row) => [row.querySelector("b")!.textContent, row.dataset.tone])).toEqual([["worker-0", ""], ["worker-1", "warn"], ["worker-2", "err"], ["worker-3", "err"]]);
    const has = (row: number, kind: string): boolean => rows[row].querySelector(`.cl-rank-${kind}`) !== null;
    expect(["step", "late", "still", "error"].map((kind) => [0, 1, 2, 3].filter((row) => has(row, kind)))).toEqual([[0, 1, 2, 3], [1], [2], [3]]);
    expect(find(".cl-hang").textContent).toBe("No step since 10:31:04, usually every 2.1 s (p99 4 s)");
    expect(all(".cl-pat")).toHaveLength(0);
  });

  it("with an error lead to its line", async () => {
    await open();
    answer(sse("ranks", { ...FOUND, ranks: [rank("worker-0"), rank("worker-1", { note: "failed first", label: "failed first, step 1", error: 1 / 60, seq: next.seq - 1 })] }) + sse("done", { looked: 2, lines: 2 }));
    await settle();
    const [well, failed] = all(".cl-rank[role]");
    expect([well.querySelector("button"), picked()]).toEqual([null, []]);
    failed.querySelector("button")!.click();
    await settle();
    expect(picked()).toEqual(["step 2 loss=1"]);
  });

  it("show nothing of the patterns, and the patterns nothing of them", async () => {
    await open();
    answer(sse("ranks", { ...FOUND, hang: "" }) + sse("done", { looked: 2, lines: 2 }));
    await settle();
    expect(find(".cl-hang").hidden).toBe(true);
    tab("Patterns").click();
    await settle();
    expect(find(".cl-ranks")).toBeNull();
    expect(model.sent.filter(({ type }) => type === "patterns").length).toBeGreaterThan(0);
  });

  it("say why they could not be compared, and are compared again", async () => {
    await open();
    answer(sse("error", { code: "TooMany", message: "only 5 of 9 lines could be read within 1 s", hint: "call ranks() in a kernel" }));
    await settle();
    const message = find(".cl-plist:not([hidden]) > p.cl-dim");
    expect(message.textContent).toContain("only 5 of 9 lines could be read within 1 s");
    message.querySelector("button")!.click();
    await settle();
    expect(asked()).toHaveLength(2);
  });

  it("are compared once more if the task ends meanwhile", async () => {
    await open();
    model.bytes(sse("end", { task: TASK, seq: next.seq, state: "failed", exit_code: 1, message: "Job failed exit 1: Error" }, "c"));
    await settle(30_000);
    expect(asked()).toHaveLength(1);
    await compare([rank("worker-0"), rank("worker-1")]);
    expect(asked()).toHaveLength(2);
    await compare(FOUND.ranks);
    expect(all(".cl-rank[role]").map((row) => row.dataset.tone)).toEqual(["", "warn", "err", "err"]);
    await settle(60_000);
    expect(asked()).toHaveLength(2);
  });
});

const worker = (i: number, more: Partial<SourceInfo> = {}): SourceInfo => ({ pod: `worker-${i}`, container: "main", kind: "main", run: 0, node: "n1", role: "worker", rank: String(i), ...more });
/** Lines with a metric, one after the other from each of these sources. */
async function train(...sources: SourceInfo[]): Promise<void> {
  const s = Array.from({ length: 4 * sources.length }, (_unused, i) => (i % sources.length) + 1);
  model.bytes(sse("log", { task: TASK, seq: next.seq, sources: Object.fromEntries(sources.map((source, i) => [i + 1, source])), t0: ns(T0), dt: s.map((_unused, i) => i * 1e9), s, m: s.map((_unused, i) => `step ${i} loss=${1 / (i + 1)}`) }, `c${next.seq}`));
  next.seq += s.length;
  await settle();
}
async function setTrait(name: string, value: string): Promise<void> {
  model.traits[name] = value;
  model.emit(`change:${name}`);
  await settle();
}
async function compare(ranks: RankStrip[]): Promise<void> {
  answer(sse("ranks", { ...FOUND, ranks, hang: "" }) + sse("done", { looked: 2, lines: 2 }));
  await settle();
}
const badges = (): (string | null)[] => all(".cl-entry .cl-badge").map((badge) => (badge.hidden ? "" : badge.textContent));
const below = (): HTMLElement | null => find(".cl-chart").querySelector<HTMLElement>(".cl-ranks");
const WORKERS = [0, 1, 2, 3].map((i) => worker(i));

describe("the badges and the strips below the chart", () => {
  it("come once the ranks are known, which are asked for when the chart is opened", async () => {
    show();
    await train(...WORKERS);
    await settle(60_000);
    expect([asked().length, badges()]).toEqual([0, ["", "", "", ""]]);
    await setTrait("chart", "time");
    expect(asked()).toHaveLength(1);
    expect(below()!.closest<HTMLElement>(".cl-plist")!.hidden).toBe(true);
    await compare(FOUND.ranks);
    expect(badges()).toEqual(["", "slow", "silent", "failed first"]);
    const [, slow] = all(".cl-entry");
    expect(slow.querySelector<HTMLElement>(".cl-badge")!.title).toBe("worker-1: slow, step 5, 4 s each");
    expect(slow.querySelector(".cl-only")!.getAttribute("aria-label")).toBe("worker-1, slow, running, 4 lines: show only this one");
    expect(all(".cl-chart .cl-rank[role] b").map(({ textContent }) => textContent)).toEqual(["worker-1", "worker-2", "worker-3", "worker-0"]);
  });

  it("go with the chart, while the task runs", async () => {
    show({ chart: "time" });
    await train(...WORKERS);
    await compare(FOUND.ranks);
    await setTrait("chart", "");
    expect([below(), badges()]).toEqual([null, ["", "", "", ""]]);
    await train(...WORKERS);
    await settle(60_000);
    expect(asked()).toHaveLength(1);
    await setTrait("chart", "step");
    expect([below() === null, badges().length, asked().length]).toEqual([false, 4, 2]);
  });

  it("stay after the chart, if the task has ended", async () => {
    show({ chart: "time" });
    await train(...WORKERS);
    model.bytes(sse("end", { task: TASK, seq: next.seq, state: "failed", exit_code: 1, message: "Job failed exit 1: Error" }, "c"));
    await settle(30_000);
    await compare(FOUND.ranks);
    await setTrait("chart", "");
    expect(badges()).toEqual(["", "slow", "silent", "failed first"]);
  });

  it("are one list with the panel's, in its order there", async () => {
    show({ chart: "time" });
    await train(...WORKERS);
    await compare(FOUND.ranks);
    model.traits.panel = "ranks";
    await setTrait("chart", "");
    expect([all(".cl-ranks").length, below()]).toEqual([1, null]);
    expect(all(".cl-pats .cl-rank[role] b").map(({ textContent }) => textContent)).toEqual(["worker-0", "worker-1", "worker-2", "worker-3"]);
    expect(badges()).toEqual(["", "slow", "silent", "failed first"]);
  });

  it("are absent from a task of one rank, also if it was tried again", async () => {
    show({ chart: "time" });
    await train(worker(0), worker(0, { pod: "worker-0-again" }), worker(0, { pod: "launcher", role: "launcher", rank: "" }));
    expect([asked().length, below(), badges()]).toEqual([0, null, ["", "", ""]]);
  });

  it("say the gravest of a container with several ranks", async () => {
    await open();
    await train(worker(0), worker(1));
    await compare([rank("rank 0", { pod: "worker-0", note: "slow", label: "slow, step 5" }), rank("rank 1", { pod: "worker-0", note: "stuck", label: "stuck, step 3" }), rank("rank 2", { pod: "worker-1" })]);
    const badge = all(".cl-entry .cl-badge").find(({ hidden }) => !hidden)!;
    expect([badge.textContent, badge.dataset.tone, badge.title]).toEqual(["stuck", "err", "rank 0: slow, step 5\nrank 1: stuck, step 3"]);
  });
});

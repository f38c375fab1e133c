// @vitest-environment happy-dom
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { RankStrip } from "../../src/ui/ranklist.ts";
import { bytesOf, sse, T0, TASK } from "../helpers.ts";
import { all, feed, find, model, page, settle, show } from "../page.ts";

page({ now: T0 + 100_000, settled: 700 });
beforeEach(() => void vi.spyOn(console, "warn").mockImplementation(() => {}));

const rank = (name: string, more: Partial<RankStrip> = {}): RankStrip => ({ name, note: "", label: "step 9, 2 s each", start: 0, end: 1, pace: [1, 1, null, 0.5], lag: [0, 0, 0, 0], last_step: 1, error: null, ended: "", pod: name, container: "main", ...more });
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

  it("show nothing of the patterns, and the patterns nothing of them", async () => {
    await open();
    answer(sse("ranks", { ...FOUND, hang: "" }) + sse("done", { looked: 2, lines: 2 }));
    await settle();
    expect(find(".cl-hang").hidden).toBe(true);
    tab("Patterns").click();
    await settle();
    expect(find(".cl-ranks").closest<HTMLElement>(".cl-plist")!.hidden).toBe(true);
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
});

// @vitest-environment happy-dom
import { beforeEach, describe, expect, it, vi } from "vitest";
import { merge, type Patterns } from "../../src/client/patterns.ts";
import { bytesOf, ns, sse, T0, TASK } from "../helpers.ts";
import { all, feed, find, messages, model, next, page, settle, show, viewer } from "../page.ts";

page({ now: T0 + 100_000, settled: 700 });
beforeEach(() => void vi.spyOn(console, "warn").mockImplementation(() => {}));

const counts = (...first: number[]): number[] => [...first, ...Array.from({ length: 32 - first.length }, () => 0)];
const FOUND: Omit<Patterns, "looked" | "lines"> = {
  patterns: [
    { pattern: "step <*> loss=<*>", count: 3, level: null, pods: 1, first: T0 * 1e6, last: (T0 + 2000) * 1e6, counts: counts(1, 1, 1), grep: String.raw`^\s*step\s+\S+\s+loss=\S+\s*$` },
    { pattern: "saved checkpoint <*>", count: 2, level: "info", pods: 1, first: (T0 + 3000) * 1e6, last: (T0 + 4000) * 1e6, counts: counts(2), grep: String.raw`saved\s+checkpoint\s+\S+` },
    { pattern: "disk full", count: 1, level: "error", pods: 1, first: T0 * 1e6, last: T0 * 1e6, counts: counts(1), grep: String.raw`disk\s+full` },
    { pattern: "<*>", count: 1, level: null, pods: 1, first: T0 * 1e6, last: T0 * 1e6, counts: counts(1), grep: null },
  ],
  left_out: 0,
  from: T0 * 1e6,
  to: (T0 + 5000) * 1e6,
  fields: [
    { name: "status", lines: 34, distinct: 3, values: [["200", 20], ["500", 10], ["a b", 4]], least: null, most: null },
    { name: "loss", lines: 30, distinct: 30, values: [["0.1", 1]], least: 0.1, most: 2 },
  ],
};

const asked = (): Record<string, unknown>[] => model.sent.filter(({ type }) => type === "patterns");
function answer(doc: object = FOUND, nth = -1): void {
  const { client, id } = asked().at(nth)!;
  const bytes = (text: string): DataView => new DataView(bytesOf(text).buffer);
  model.emit("msg:custom", { client, id, type: "found" }, [bytes(sse("progress", { looked: 3, lines: 7 }))]);
  model.emit("msg:custom", { client, id, type: "found" }, [bytes(sse("patterns", doc) + sse("done", { looked: 7, lines: 7 }))]);
  model.emit("msg:custom", { client, id, type: "found", done: true });
}
const rows = (): HTMLElement[] => all(".cl-pat");
const texts = (): (string | null)[] => all(".cl-pat-t").map(({ textContent }) => textContent);
const only = (nth: number): HTMLElement => rows()[nth].querySelector(".cl-pat-only")!;
const hide = (nth: number): HTMLElement => rows()[nth].querySelector(".cl-pat-hide")!;
const chips = (): (string | null)[] => all(".cl-cw").map(({ textContent }) => textContent);
const lines = (): Promise<void> => feed([T0, 1, "step 1 loss=2"], [T0 + 1000, 1, "saved checkpoint 1"], [T0 + 2000, 1, "step 2 loss=1"], [T0 + 3000, 1, "step aside now"]);
const press = (element: Element, key: string): void => void element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

describe("the panel of patterns", () => {
  it("asks when it is first shown, and lists patterns with their counts", async () => {
    show();
    await lines();
    expect(asked()).toHaveLength(0);
    press(find(".cl-rows"), "P");
    await settle();
    expect(asked()).toMatchObject([{ task: TASK }]);
    expect(model.traits.panel).toBe("patterns");
    answer();
    await settle();
    expect(texts()).toEqual(["step · loss=·", "saved checkpoint ·", "disk full", "·"]);
    expect(all(".cl-pat-n").map(({ textContent }) => textContent)).toEqual(["3", "2", "1", "1"]);
    expect(rows()[0].querySelector("path")!.getAttribute("d")!.match(/M/g)).toHaveLength(3);
    press(find(".cl-rows"), "P");
    await settle();
    expect(find(".cl-pats").hidden).toBe(true);
  });

  it("counts a traceback once, and says how many lines it has", async () => {
    show({ panel: "patterns" });
    await lines();
    answer({ ...FOUND, patterns: [{ ...FOUND.patterns[2], pattern: "BadBatch: batch <*> has no tokens", count: 10, times: 1 }, { ...FOUND.patterns[0], times: 3 }] });
    await settle();
    expect(texts()).toEqual(["step · loss=·", "BadBatch: batch · has no tokens"]);
    expect(all(".cl-pat-n").map(({ textContent }) => textContent)).toEqual(["3", "1"]);
    expect(only(1).title).toContain("once, 10 lines, ");
    expect(only(0).title).toContain("\n3 lines, ");
    expect(rows()[1].dataset.level).toBe("error");
  });

  it("shows only a pattern, then another, then all; its chip reads as the pattern", async () => {
    show({ panel: "patterns" });
    await lines();
    answer();
    await settle();
    only(0).click();
    await settle();
    expect(messages()).toEqual(["step 1 loss=2", "step 2 loss=1"]);
    expect([chips(), only(0).getAttribute("aria-pressed")]).toEqual([["like step · loss=·"], "true"]);
    only(1).click();
    await settle();
    expect([messages(), chips()]).toEqual([["saved checkpoint 1"], ["like saved checkpoint ·"]]);
    only(1).click();
    await settle();
    expect([messages().length, chips()]).toEqual([4, []]);
  });

  it("hides a pattern, and keeps what else is in the filter", async () => {
    show({ panel: "patterns", query: { since: "all", exclude: ["aside"] } });
    await lines();
    answer();
    await settle();
    only(0).click();
    hide(0).click();
    await settle();
    expect([messages(), chips()]).toEqual([["saved checkpoint 1"], ["not “aside”", "not like step · loss=·"]]);
    hide(0).click();
    await settle();
    expect(chips()).toEqual(["not “aside”"]);
    expect((only(3) as HTMLButtonElement).disabled).toBe(true);
  });

  it("can be sorted, and moves by the arrow keys with one stop for Tab", async () => {
    show({ panel: "patterns" });
    await lines();
    answer();
    await settle();
    const order = find<HTMLSelectElement>(".cl-pats select");
    order.value = "level";
    order.dispatchEvent(new Event("change"));
    expect(texts()[0]).toBe("disk full");
    expect(all(".cl-plist button").filter(({ tabIndex }) => tabIndex === 0)).toHaveLength(1);
    only(0).focus();
    press(only(0), "ArrowDown");
    expect(document.activeElement).toBe(only(1));
    press(only(1), "ArrowRight");
    expect(document.activeElement).toBe(hide(1));
    press(hide(1), "ArrowUp");
    expect(document.activeElement).toBe(only(0));
    expect(model.traits.panel).toBe("patterns");
  });

  it("reads again when there are new lines, but not at once, and keeps its elements and the focus", async () => {
    show({ panel: "patterns" });
    await lines();
    answer();
    await settle();
    const kept = only(1);
    kept.focus();
    await feed([T0 + 4000, 1, "saved checkpoint 2"]);
    expect(asked()).toHaveLength(1);
    await settle(6000);
    expect(asked()).toHaveLength(2);
    answer({ ...FOUND, patterns: [{ ...FOUND.patterns[1], count: 4 }, FOUND.patterns[0]] });
    await settle();
    expect([document.activeElement, only(1), only(1).querySelector(".cl-pat-n")!.textContent]).toEqual([kept, kept, "4"]);
    await settle(60_000);
    expect(asked()).toHaveLength(2);
  });

  const end = (): void => void model.bytes(sse("end", { task: TASK, seq: next.seq, state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "c"));

  it("reads once more if the task ends while it reads", async () => {
    show({ panel: "patterns" });
    await lines();
    await feed([T0 + 4000, 1, "saved checkpoint 2"]);
    end();
    await settle(30_000);
    expect(asked()).toHaveLength(1);
    answer();
    await settle(60_000);
    expect(asked()).toHaveLength(2);
    answer();
    await settle(60_000);
    expect(asked()).toHaveLength(2);
  });

  it("reads once more, and at once, if the task ends soon after it has read", async () => {
    show({ panel: "patterns" });
    await lines();
    answer();
    await settle();
    await feed([T0 + 4000, 1, "saved checkpoint 2"]);
    end();
    await settle();
    expect(asked()).toHaveLength(2);
  });

  it("shows progress after a second, and the reason of a failure with another try", async () => {
    show({ panel: "patterns" });
    await lines();
    const { client, id } = asked()[0];
    model.emit("msg:custom", { client, id, type: "found" }, [new DataView(bytesOf(sse("progress", { looked: 3, lines: 12 })).buffer)]);
    expect(find(".cl-pats .cl-of").textContent).not.toContain("25");
    await settle(1100);
    expect(find(".cl-pats .cl-of").textContent).toBe("reading 25 %…");
    model.emit("msg:custom", { client, id, type: "found" }, [new DataView(bytesOf(sse("progress", { looked: 12, lines: 12 })).buffer)]);
    expect(find(".cl-pats .cl-of").textContent).toBe("grouping…");
    model.emit("msg:custom", { client, id, type: "found", done: true, error: { code: "MissingExtra", message: "pyarrow is not installed", hint: "pip install it" } });
    await settle();
    expect(find(".cl-pats [role=alert]").textContent).toContain("The patterns could not be read: pyarrow is not installedpip install it");
    await settle(60_000);
    expect(asked()).toHaveLength(1);
    find(".cl-pats [role=alert] button").click();
    await settle();
    answer();
    await settle();
    expect([find(".cl-pats [role=alert]").hidden, texts().length]).toEqual([true, 4]);
  });

  it("stops reading when it is closed, and gives its place to the chart", async () => {
    show({ panel: "patterns" });
    await lines();
    find('[aria-label="Chart of the metrics (p)"]').click();
    await settle();
    expect([find(".cl-pats").hidden, find(".cl-chart").hidden, model.traits.panel]).toEqual([true, false, ""]);
    expect(model.sent.some(({ type, client }) => type === "stop" && client === asked()[0].client)).toBe(true);
    find('[aria-label="Patterns and fields (P)"]').click();
    await settle();
    expect([find(".cl-pats").hidden, model.traits.chart, asked().length]).toEqual([false, "", 2]);
  });
});

describe("the panel of fields", () => {
  it("lists the commonest values; a click filters, and a field becomes a column", async () => {
    show({ panel: "fields" });
    await feed([T0, 1, '{"msg":"a","status":200}'], [T0 + 1000, 1, '{"msg":"b","status":"a b"}']);
    answer();
    await settle();
    expect(all(".cl-fld").map((row) => row.textContent)).toEqual(["status34 lines · 3 values▥2002050010a b4", "loss30 lines · 30 values · 0.1 to 2▥"]);
    const value = (nth: number): HTMLElement => all(".cl-val")[nth];
    value(2).click();
    await settle();
    expect([messages().length, chips(), value(2).getAttribute("aria-pressed")]).toEqual([1, ["status = a b"], "true"]);
    value(2).click();
    await settle();
    expect(chips()).toEqual([]);
    find(".cl-fld-h").click();
    await settle();
    expect([model.traits.fields, find(".cl-fld-h").getAttribute("aria-pressed")]).toEqual([["status"], "true"]);
  });

  it("says when no line has fields", async () => {
    show({ panel: "fields" });
    await lines();
    answer({ ...FOUND, fields: [] });
    await settle();
    expect(find(".cl-pats > p").textContent).toContain("No line has fields");
  });
});

it("equal patterns of several tasks become one, with their counts at the right times", () => {
  const [steps] = FOUND.patterns;
  const task = (from: number, to: number, patterns: Patterns["patterns"]): Patterns => ({ ...FOUND, from: ns(from) as unknown as number, to: ns(to) as unknown as number, patterns, looked: 1, lines: 1 });
  const at = (ms: number): number => ms * 1e6;
  const one = { ...task(0, 0, [{ ...steps, count: 2, counts: counts(2) }]), from: at(0), to: at(1000) };
  const two = { ...task(0, 0, [{ ...steps, count: 3, counts: counts(3) }]), from: at(1000), to: at(2000) };
  const { patterns, fields, from, to } = merge([one, two]);
  expect([from, to, patterns.length, patterns[0].count]).toEqual([0, at(2000), 1, 5]);
  expect(patterns[0].counts.map((count, i) => [i, count]).filter(([, count]) => count > 0)).toEqual([[0, 2], [16, 3]]);
  expect(fields[0]).toMatchObject({ name: "status", lines: 68, values: [["200", 40], ["500", 20], ["a b", 8]] });
});

describe("columns of fields", () => {
  it("have their names above, are as wide as the widest value so far, and can be removed", async () => {
    show({ fields: ["status", "user.name"] });
    await feed([T0, 1, '{"msg":"a","status":200,"user":{"name":"a"}}'], [T0 + 1000, 1, '{"msg":"b","status":"a long status of more than 24 characters"}'], [T0 + 2000, 1, "plain"]);
    const heads = (): HTMLElement[] => all(".cl-colhead .cl-col");
    expect(heads().map(({ textContent }) => textContent)).toEqual(["status ×", "user.name ×"]);
    expect(["--col0", "--col1"].map((name) => viewer.root.style.getPropertyValue(name))).toEqual(["24ch", "11ch"]);
    expect(all("[data-seq] .cl-m").map((message) => [...message.querySelectorAll(".cl-col")].map(({ textContent }) => textContent))).toEqual([["200", "a"], ["a long status of more than 24 characters", ""], ["", ""]]);
    heads()[0].click();
    await settle();
    expect([model.traits.fields, heads().length, viewer.root.style.getPropertyValue("--col0")]).toEqual([["user.name"], 1, "11ch"]);
    heads()[0].click();
    await settle();
    expect([find(".cl-colhead").hidden, all("[data-seq] .cl-col").length, messages()[0]]).toEqual([true, 0, '▸ a  status=200  user={"name":"a"}']);
  });
});

it("a pattern that is an error in one of several tasks is an error", () => {
  const task = (level: string | null): Patterns => ({ ...FOUND, patterns: [{ ...FOUND.patterns[0], level }], looked: 1, lines: 1 });
  for (const tasks of [[task("error"), task(null)], [task("info"), task("error"), task("warning")]]) expect(merge(tasks).patterns.map(({ level }) => level)).toEqual(["error"]);
});

// @vitest-environment happy-dom
import { beforeEach, describe, expect, it, vi } from "vitest";
import { formatAddress, parseAddress } from "../../src/client/settings.ts";
import { fromIso, toIso } from "../../src/text/time.ts";
import { formatMarkdown } from "../../src/ui/markdown.ts";
import { type Line, T0, TASK, W1 } from "../helpers.ts";
import { all, feed, find, model, page, settle, show } from "../page.ts";

page({ now: T0 + 1_000_000 });

const named = (label: string): HTMLElement | undefined => all("button").find((one) => one.getAttribute("aria-label") === label || one.textContent === label);
const picked = (): string[] => all(".cl-picked .cl-m").map((element) => element.textContent ?? "");
const lines = (n: number): Line[] => Array.from({ length: n }, (_unused, i): Line => [T0 + i * 1000, ((i % 2) + 1) as 1 | 2, `line ${i}`]);
let copied: string[];

async function key(name: string, more: KeyboardEventInit = {}): Promise<void> {
  find(".cl-rows").dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more }));
  await settle();
}

function haveServer(): void {
  const text = JSON.stringify({ baseUrl: "/user/ada/", cortexJupyter: "1" });
  document.head.replaceChildren(Object.assign(document.createElement("script"), { id: "jupyter-config-data", type: "application/json", textContent: text }));
}

beforeEach(() => {
  document.head.replaceChildren();
  copied = [];
  vi.spyOn(navigator.clipboard, "writeText").mockImplementation((text) => Promise.resolve(void copied.push(text)));
});

describe("Markdown", () => {
  const line = (seq: number, text: string, more: object = {}) => ({ seq, time: new Date(T0 + seq * 1000).toISOString(), pod: "train-1-aa", container: "main", text, ...more });
  const at = (seq: number): string => new Date(T0 + seq * 1000).toISOString().slice(11, 23);
  const day = new Date(T0).toISOString().slice(0, 10);

  it("one line, with task, pod, time and link", () => {
    expect(formatMarkdown([line(3, "loss is NaN")], [TASK], "https://hub/view?line=3")).toBe(
      `\`${TASK}\` · \`train-1-aa\` · ${day} ${at(3)} UTC · [line 3](https://hub/view?line=3)\n\n\`\`\`text\n${at(3)} loss is NaN\n\`\`\`\n`,
    );
  });

  it("lines of several pods name them; without a link the numbers stay", () => {
    const [head, , , first, second] = formatMarkdown([line(9, "a", { pod: "p2" }), line(3, "b", { pod: "p1" })], [TASK], "").split("\n");
    expect(head).toBe(`\`${TASK}\` · \`p2\`, \`p1\` · ${day} ${at(3)} to ${at(9)} UTC · 2 lines`);
    expect([first, second]).toEqual([`${at(9)} p2 a`, `${at(3)} p1 b`]);
    expect(formatMarkdown([line(3, "a"), line(5, "c"), line(4, "b")], [TASK], "https://hub/view?line=3")).toContain("UTC · [lines 3 to 5](");
    const many = Array.from({ length: 8 }, (_unused, i) => line(i, "x", { pod: `p${i}`, task: i < 4 ? "a" : "b" }));
    expect(formatMarkdown(many, ["a", "b"], "").split("\n")[0]).toContain("`a`, `b` · `p0`, `p1`, `p2` and 5 more");
    expect(formatMarkdown(many, ["a", "b"], "").split("\n")[0]).toContain("UTC · 8 lines");
  });

  it("no text ends the block, and escapes of colours are left out", () => {
    const text = formatMarkdown([line(1, "``` and ```` \u001b[31mred\u001b[0m")], [TASK], "");
    expect(text).toContain(`\n\`\`\`\`\`text\n${at(1)} \`\`\` and \`\`\`\` red\n\`\`\`\`\`\n`);
  });

  it("is copied with M and from the menu", async () => {
    show();
    await feed(...lines(10));
    all("[data-seq] .cl-t")[3].click();
    await settle();
    await key("M", { shiftKey: true });
    await vi.waitFor(() => expect(copied).toHaveLength(1));
    expect(copied[0]).toBe(`\`${TASK}\` · \`${W1.pod}\` · ${day} ${at(3)} UTC · line 3\n\n\`\`\`text\n${at(3)} line 3\n\`\`\`\n`);
    named("Copy the picked lines")!.click();
    named("As Markdown (M)")!.click();
    await vi.waitFor(() => expect(copied).toHaveLength(2));
    expect(copied[1]).toBe(copied[0]);
  });
});

describe("a link to a line", () => {
  it("names the task, the line and its exact time", async () => {
    haveServer();
    show();
    await feed(...lines(10));
    all("[data-seq] .cl-t")[4].click();
    await settle();
    await key("L", { shiftKey: true });
    const link = new URL(copied[0]);
    expect(`${link.origin}${link.pathname}`).toBe(`${location.origin}/user/ada/cortex/view`);
    expect(Object.fromEntries(link.searchParams)).toEqual({ task: TASK, since: "all", at: toIso(T0 + 4000), line: "4" });
    named("Copy the picked lines")!.click();
    expect(named("Link to the line (L)")).toBeDefined();
    expect(parseAddress(link.searchParams)).toEqual({ since: "all", at: toIso(T0 + 4000), line: 4 });
    expect(formatAddress([TASK], parseAddress(link.searchParams) as Record<string, unknown>).toString()).toBe(link.searchParams.toString());
  });

  it("is not offered where no server has the page", async () => {
    show();
    await feed(...lines(10));
    all("[data-seq] .cl-t")[4].click();
    await settle();
    named("Copy the picked lines")!.click();
    expect(named("Link to the line (L)")).toBeUndefined();
    await key("L", { shiftKey: true });
    expect(copied).toEqual([]);
    expect(find(".cl-problem").textContent).toContain("This line has no address");
  });

  it.each([0, 40, 299])("leads to line %s, and picks it", async (seq) => {
    show({ query: undefined, follow: false, view: { since: "all", at: toIso(T0 + seq * 1000), line: seq } });
    await feed(...lines(300));
    await settle(1500);
    expect(picked()).toEqual([`line ${seq}`]);
    // Afterwards the user may go elsewhere.
    await key("g");
    await feed([T0 + 300_000, 1, "line 300"]);
    expect(all("[data-seq] .cl-m")[0].textContent).toBe("line 0");
  });

  it("leads to a line within a traceback", async () => {
    show({ query: undefined, follow: false, view: { since: "all", at: toIso(T0 + 52_000), line: 52 } });
    const trace = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    g()", "ValueError: bad"];
    await feed(...lines(50).map(([time, , text]): Line => [time, 1, text]), ...trace.map((text, i): Line => [T0 + (50 + i) * 1000, 1, text]), ...lines(100).slice(60));
    await settle(1500);
    expect(picked()).toHaveLength(1);
    expect(all(".cl-picked")[0].dataset.seq).toBe("52");
  });

  it.each([T0, T0 + 0.25, T0 + 123.456789])("the time %s outlives the address", (time) => {
    expect(fromIso(toIso(time))).toBe(time);
    expect(Math.trunc(Date.parse(toIso(time)))).toBe(Math.floor(time));
  });
});

describe("bookmarks", () => {
  it("b and B go from one to the next, and around", async () => {
    const bookmarks = [{ task: TASK, seq: 200, note: "second", time: toIso(T0 + 200_000) }, { task: TASK, seq: 20, note: "first", time: toIso(T0 + 20_000) }, { task: TASK, seq: 280, note: "set in Python" }];
    show({ bookmarks });
    await feed(...lines(300));
    await key("g");
    const places: string[] = [];
    for (const name of ["b", "b", "b", "b", "B", "B"]) {
      await key(name);
      places.push(...picked());
    }
    expect(places).toEqual(["line 20", "line 200", "line 280", "line 20", "line 280", "line 200"]);
    await key("r");
    await key("b");
    // With the newest line on top the next one is older.
    expect(picked()).toEqual(["line 20"]);
  });

  it("know their time, so that a line need not be loaded", async () => {
    show();
    await feed(...lines(30));
    all("[data-seq] .cl-t")[2].click();
    await key("m");
    find<HTMLInputElement>(".cl-prompt input").form!.requestSubmit();
    await settle();
    expect(model.traits.bookmarks).toEqual([{ task: TASK, seq: expect.any(Number) as number, time: expect.stringMatching(/Z$/) as string, note: "" }]);
  });
});

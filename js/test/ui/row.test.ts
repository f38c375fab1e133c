// @vitest-environment happy-dom
/// <reference types="node" />
import { readFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { compileFilter } from "../../src/text/query.ts";
import { fieldsOf, renderRow } from "../../src/store/rendering.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { makeRow, type RowActions } from "../../src/ui/row.ts";
import { logEvent, T0, TASK } from "../helpers.ts";

const HOSTILE = JSON.parse(readFileSync(`${import.meta.dirname}/../../../tests/parsing/fixtures/hostile.json`, "utf8")) as { name: string; line: string; shows: string; links: string[] }[];
const ALLOWED = new Set(["DIV", "I", "SPAN", "BDI", "A", "BUTTON", "DETAILS", "SUMMARY", "MARK"]);
const HIDDEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/;
const ACTIONS: RowActions = {
  label: () => ({ short: "w-0", full: "worker-0", colour: 0 }),
  markHue: () => undefined, loadOlder: vi.fn(), loadSpan: vi.fn(), search: vi.fn(), toggleFold: vi.fn(), resized: vi.fn(),
  fullText: () => Promise.resolve({ text: "", fields: null }),
  tree: { chosen: [], choose: vi.fn(), filter: vi.fn() },
};

interface Shown {
  /** Of Python's query. */
  fields?: string[];
  grep?: string;
  open?: boolean;
  pretty?: boolean;
}

function element(line: string, { fields = [], grep = "", open = false, pretty = true }: Shown = {}): HTMLElement {
  const store = new TaskStore(TASK);
  store.addLog(logEvent(0, [[T0, 1, line]]));
  const row = renderRow(store, 0, 0, 0, compileFilter({ ...fromPlain({}).filter, grep }), pretty, false, fields);
  return makeRow(row, { ...ACTIONS, tree: { ...ACTIONS.tree, chosen: fields } }, open ? new Map([[0, { text: line, fields: fieldsOf(line) }]]) : new Map());
}

const said = (line: string, shown?: Shown): string => element(line, shown).querySelector(".cl-m")!.textContent;
const words = (line: string, style: string): string[] => [...element(line).querySelectorAll(`.cl-m ${style}`)].map(({ textContent }) => textContent);

describe.each(HOSTILE)("hostile lines are text: $name", ({ line, shows, links }) => {
  it("as one row", () => {
    const row = element(line);
    expect(row.querySelector(".cl-m")!.textContent).toBe(shows);
    expect([...row.querySelectorAll("a")].map((link) => link.getAttribute("href"))).toEqual(links);
    for (const link of row.querySelectorAll("a")) expect(link.rel).toBe("noopener noreferrer");
  });

  it.each([[false], [true]])("nothing in it is markup, and nothing is hidden; opened: %s", (open) => {
    for (const pretty of [true, false]) {
      const row = element(line, { open, pretty });
      for (const node of row.querySelectorAll("*")) expect(ALLOWED.has(node.tagName)).toBe(true);
      expect(row.textContent).not.toMatch(HIDDEN);
      for (const node of row.querySelectorAll("*")) for (const { name } of node.attributes) expect(name).not.toMatch(/^on/);
    }
  });
});

describe("structured lines", () => {
  const time = new Date(T0).toISOString();

  it("show the message first, then dim fields, without the time that the row already shows", () => {
    expect(said(`{"time":"${time}","level":"warn","msg":"slow","shard":7,"meta":{"a":[1]}}`)).toBe('▸ WARN slow  shard=7  meta={"a":[1]}');
    expect(said(`time="${time}" level=info msg="step done" loss=0.5`)).toBe("▸ INFO step done  loss=0.5");
    expect(said('worker 3: {"loss":0.5,"step":7}')).toBe("▸ worker 3: loss=0.5  step=7");
    expect(said('{"ts":12,"msg":"another time"}')).toBe("▸ another time  ts=12");
    expect(words('{"msg":"m","loss":0.5}', ".cl-k")).toEqual(["loss="]);
    expect(words("level=warn loss=0.5 to=x", ".cl-n")).toEqual(["0.5"]);
  });

  it("have the chosen fields in columns before the message, also nested ones and those in plain text", () => {
    const columns = (line: string, pretty = true): string[] => [...element(line, { fields: ["b.c", "a", "none"], pretty }).querySelector(".cl-m")!.childNodes].map(({ textContent }) => textContent!);
    expect(columns('{"msg":"m","a":1,"b":{"c":"two\\nlines"},"d":3}')).toEqual(["two lines", "1", "", "▸ ", "m"]);
    expect(columns("step 3: a=0.5 and more").slice(0, 4)).toEqual(["", "0.5", "", "step 3: a="]);
    expect(columns('a=1 d="x y" e=2').join("")).toBe('1▸ d="x y"  e=2');
    expect(columns('{"a":1}', false).join("")).toBe('1▸ {"a":1}');
    expect(element('{"msg":"m","a":1}', { fields: ["a"] }).querySelector<HTMLElement>(".cl-col")!.title).toBe("a: 1");
  });

  it("are shown as written if pretty is off", () => {
    expect(said('{"msg":"m","a":1}', { pretty: false })).toBe('▸ {"msg":"m","a":1}');
  });

  it("open as a tree of typed values, with texts over several lines", () => {
    const row = element('{"msg":"one\\ntwo","n":12345678901234567890,"ok":true,"none":null,"in":{"deep":{"x":1}},"list":[{"y":2}]}', { open: true });
    expect(row.querySelector(".cl-multi")!.textContent).toBe("one\ntwo");
    const leaves = [...row.querySelectorAll(".cl-leaf")].map((leaf) => `${leaf.children[0].textContent}: ${leaf.children[2].textContent} ${leaf.children[2].className}`);
    expect(leaves.slice(1)).toEqual(["n: 12345678901234567890 cl-n", "ok: true cl-bool", "none: null cl-k", "x: 1 cl-n", "y: 2 cl-n"]);
  });

  it("one click turns a value into a filter, or shows a field in the rows", () => {
    const row = element('worker: {"meta":{"status":503},"list":[4]}', { open: true });
    const [status, inList] = [...row.querySelectorAll(".cl-leaf")];
    expect([...status.querySelectorAll(".cl-act")].map(({ textContent }) => textContent)).toEqual(["=", "≠", "≥", "≤", "⧉"]);
    status.querySelectorAll<HTMLElement>(".cl-act")[2].click();
    expect(ACTIONS.tree.filter).toHaveBeenLastCalledWith({ field: "meta.status", op: ">=", value: "503" });
    status.querySelector<HTMLElement>(".cl-key")!.click();
    expect(ACTIONS.tree.choose).toHaveBeenLastCalledWith("meta.status");
    expect(inList.querySelectorAll(".cl-act")).toHaveLength(1);
  });
});

describe("plain lines", () => {
  it("have a dim time if it equals the row's", () => {
    const [own, other] = [new Date(T0 - 20).toISOString(), new Date(T0 - 20_000).toISOString()];
    expect(words(`${own} WARNING trainer: slow`, ".cl-k")).toEqual([`${own} `]);
    expect(words(`${other} WARNING trainer: slow`, ".cl-k")).toEqual([]);
    expect(words(`${own} WARNING trainer: slow`, ".cl-lv")).toEqual(["WARNING "]);
  });

  it.each([
    ["T WARNING trainer: slow", ["T ", "WARNING "], "trainer: slow"],
    ["T - trainer - WARNING - slow", ["T - ", "WARNING - "], "trainer - slow"],
    ["T | WARNING  | app:run:12 - slow", ["T | ", "WARNING  | "], "app:run:12 - slow"],
    ["T\twarn\tslow", ["T\t", "warn\t"], "slow"],
    ["[T] [WARNING] slow", ["[T] ", "[WARNING] "], "slow"],
    ["WARNING:root:slow", ["WARNING:"], "root:slow"],
    ["WARNING T slow", ["WARNING ", "T "], "slow"],
    ["[rank0] T WARNING slow", ["T ", "WARNING "], "[rank0] slow"],
    ["[W T ServerApp] slow", ["T "], "[W ServerApp] slow"],
    ["\u001b[32mT\u001b[0m | \u001b[33mWARNING\u001b[0m | slow", ["T", " | ", "WARNING", " | "], "slow"],
    ['T WARNING trainer: {"loss":2,"msg":"slow"}', ["T ", "WARNING "], "▸ trainer: slow  loss=2"],
    // Within a sentence they are part of it.
    ["WARNING started at T with nothing", ["WARNING "], "started at T with nothing"],
    ["there was a WARNING in it", [], "there was a WARNING in it"],
    ["started at T on node 3", [], "started at T on node 3"],
    ["T", [], "T"],
  ])("have a time and a level that repeat the columns: %j", (written, own, rest) => {
    const now = new Date(T0 - 20).toISOString();
    const row = element(written.replace("T ", `${now} `).replace(/T(?=[\]\t\u001b]|$)/, now));
    const message = row.querySelector(".cl-m")!;
    const parts = [...message.querySelectorAll(".cl-own, .cl-aO")];
    expect(parts.map(({ textContent }) => textContent.replace(now, "T"))).toEqual(own);
    for (const part of parts) part.remove();
    expect(message.textContent.replace(now, "T")).toBe(rest);
  });

  it("that are long are cut, and show how many characters follow", () => {
    expect(said("x".repeat(1024 * 1024))).toMatch(/^x{4096} … 1\s044\s480 more$/);
    expect(said(`${"\u202e".repeat(9000)}`, { open: true })).toBe("RLO".repeat(9000));
  });

  it("have their matches marked, across colours and control characters", () => {
    const marks = (line: string, grep: string): string[] => [...element(line, { grep }).querySelectorAll("mark")].map(({ textContent }) => textContent);
    expect(marks("\u001b[31mlo\u001b[0mss=1", "loss").join("")).toBe("loss");
    expect(marks("train:  62%|██████▏   | 1240/2000 [06:40<04:05,  3.10it/s]", "train")).toEqual(["train"]);
  });
});

describe("a line of 4 MiB", () => {
  const LONG = `start ${"0123456789abcde ".repeat(2 ** 18)}end`;
  const json = (value: string): string => `${JSON.stringify({ level: "info", blob: value })}`;

  it.each([["text", LONG], ["a value", json("x".repeat(60_000))], ["states of a bar", `${"a".repeat(2 ** 21)}\r${"b".repeat(2 ** 21)}\rc`]])("that is opened paints only its beginning (%s)", (_name, line) => {
    const open = element(line, { open: true });
    expect(open.textContent.length).toBeLessThan(50_000);
    expect(open.textContent).toContain(line.slice(0, 4000).split("\"").at(-1)!.slice(0, 1000));
    for (const node of open.querySelectorAll("*")) expect(node.getAttribute("title")?.length ?? 0).toBeLessThan(5000);
  });

  it("can be copied and seen as a whole", async () => {
    const copied: string[] = [];
    const pages: Blob[] = [];
    vi.stubGlobal("navigator", { clipboard: { writeText: async (text: string) => void copied.push(text) } });
    vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => `blob:${pages.push(blob as Blob)}`);
    const opened = vi.spyOn(window, "open").mockReturnValue(null);
    const buttons = [...element(LONG, { open: true }).querySelectorAll<HTMLButtonElement>(".cl-m button")];
    expect(buttons.map(({ textContent }) => textContent)).toEqual(["Copy the whole line", "Open it as a page"]);
    for (const button of buttons) button.click();
    expect(copied).toEqual([LONG]);
    expect(opened.mock.calls[0][0]).toBe("blob:1");
    expect([pages[0].type, await pages[0].text()]).toEqual(["text/plain;charset=utf-8", LONG]);
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });
});

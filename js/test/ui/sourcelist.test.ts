// @vitest-environment happy-dom
/** The list of hundreds of sources: few elements, a search, and other orders. */

import { describe, expect, it } from "vitest";
import type { SourceInfo } from "../../src/protocol/events.ts";
import { ns, sse, T0, TASK } from "../helpers.ts";
import { all, find, model, next, page, session, settle, show } from "../page.ts";

page({ now: T0 + 10_000, faked: ["performance"] });

const MANY = 500;
/** Source i has i % 5 + 1 lines; the last one of them is an error if i is a multiple of 100. */
const TEXTS = Array.from({ length: MANY }, (_unused, i) => Array.from({ length: (i % 5) + 1 }, (_one, n) => (n === i % 5 && i % 100 === 0 ? "ERROR lost" : `step ${n}`)));

async function feed(texts: string[][]): Promise<void> {
  const sources = Object.fromEntries(texts.map((_unused, i): [number, SourceInfo] => [i + 1, { pod: `train-${i}`, container: "main", kind: "main", run: 0, node: `node-${i % 7}` }]));
  const rows = texts.flatMap((lines, i) => lines.map((text) => ({ text, s: i + 1 })));
  model.bytes(sse("log", { task: TASK, seq: next.seq, sources, t0: ns(T0), dt: rows.map((_unused, i) => i * 1e6), s: rows.map(({ s }) => s), m: rows.map(({ text }) => text) }, `c${next.seq}`));
  next.seq += rows.length;
  await settle(1500);
}

const names = (count = 3): string[] => all(".cl-src .cl-sn").slice(0, count).map(({ textContent }) => textContent!);
const counts = (count = 3): string[] => all(".cl-src small").slice(0, count).map(({ textContent }) => textContent!);
const head = (): string => find(".cl-shead h3").textContent!;

async function order(value: string): Promise<void> {
  const select = find<HTMLSelectElement>("[aria-label='Order of the sources']");
  select.value = value;
  select.dispatchEvent(new Event("change"));
  await settle();
}

async function search(text: string): Promise<HTMLInputElement> {
  const input = find<HTMLInputElement>("[aria-label='Search sources']");
  input.value = text;
  input.dispatchEvent(new Event("input"));
  await settle();
  return input;
}

async function press(element: HTMLElement, key: string, more: KeyboardEventInit = {}): Promise<void> {
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  await settle(1500);
}

describe("of 500 sources", () => {
  it("only the rows in sight are elements, and each says where it stands", async () => {
    show();
    await feed(TEXTS);
    expect(head()).toBe("500 of 500 sources");
    expect(all(".cl-src").length).toBeLessThan(80);
    expect(all(".cl-src").slice(0, 2).map((row) => [row.getAttribute("aria-posinset"), row.getAttribute("aria-setsize")])).toEqual([["1", "500"], ["2", "500"]]);
  });

  it("the arrow keys and End reach every row, and one Tab stop is left", async () => {
    show();
    await feed(TEXTS);
    all(".cl-only")[0].focus();
    await press(document.activeElement as HTMLElement, "End");
    const row = (document.activeElement as HTMLElement).closest(".cl-src")!;
    expect(row.getAttribute("aria-posinset")).toBe("500");
    expect(new Set(all(".cl-src button").filter(({ tabIndex }) => tabIndex === 0).map((one) => one.closest(".cl-src")))).toEqual(new Set([row]));
    await press(document.activeElement as HTMLElement, "ArrowUp");
    expect((document.activeElement as HTMLElement).closest(".cl-src")!.getAttribute("aria-posinset")).toBe("499");
  });

  it("a search finds names and nodes, and Enter shows only what it found", async () => {
    show();
    await feed(TEXTS);
    const input = await search("train-49");
    expect(names(20)).toEqual(["train-49", ...Array.from({ length: 10 }, (_unused, i) => `train-49${i}`)]);
    // The Enter that ends a composition of an input method chooses nothing.
    await press(input, "Enter", { isComposing: true });
    expect(head()).toBe("500 of 500 sources");
    await press(input, "Enter");
    expect(head()).toBe("11 of 500 sources");
    await search("node-3 train-1");
    expect(names(2)).toEqual(["train-10", "train-17"]);
    await search("nothing");
    expect([all(".cl-src").length, find(".cl-side > p").hidden, find(".cl-side").matches(".cl-none")]).toEqual([0, false, false]);
    await press(input, "Escape");
    expect([input.value, names(1)]).toEqual(["", ["train-0"]]);
    // In an empty search, Escape does not clear the filter of the lines either.
    session.change({ grep: "step" });
    await press(input, "Escape");
    expect(session.settings.filter.grep).toBe("step");
  });

  it("they are sorted by lines, errors and the last line, and show what they are sorted by", async () => {
    show();
    await feed(TEXTS);
    await order("lines");
    expect([names(2), counts(2)]).toEqual([["train-4", "train-9"], ["5", "5"]]);
    await order("errors");
    expect([names(6), counts(6)]).toEqual([["train-0", "train-100", "train-200", "train-300", "train-400", "train-1"], ["1", "1", "1", "1", "1", "0"]]);
    await order("last");
    expect([names(2), counts(1)]).toEqual([["train-499", "train-498"], [expect.stringMatching(/^\d+ s$/)]]);
    await order("name");
    expect(names(2)).toEqual(["train-0", "train-1"]);
  });

  it("sorted rows stay where they are while the pointer is over the list", async () => {
    show();
    await feed(TEXTS);
    await order("lines");
    find(".cl-side").dispatchEvent(new Event("pointerover"));
    const more = Array.from({ length: 20 }, (_unused, i) => (i === 7 ? Array.from({ length: 30 }, () => "more") : ["more"]));
    await feed(more);
    expect(names(2)).toEqual(["train-4", "train-9"]);
    find(".cl-side").dispatchEvent(new Event("pointerleave"));
    await feed(more);
    expect(names(1)).toEqual(["train-7"]);
  });
});

it("a few sources have neither search nor order", async () => {
  show();
  await feed(TEXTS.slice(0, 5));
  expect(find(".cl-stools").hidden).toBe(true);
});

it("a search ends when there are only a few sources, and its box is gone", async () => {
  show();
  await feed(TEXTS);
  await search("train-49");
  model.traits.tasks = ["default:job/other"];
  model.emit("change:tasks");
  await settle(1500);
  model.bytes(sse("log", { task: "default:job/other", seq: 0, sources: { 1: { pod: "other-0", container: "main", kind: "main", run: 0, node: "n" } }, t0: ns(T0), dt: [0], s: [1], m: ["a"] }, "o0"));
  await settle(1500);
  expect([find(".cl-stools").hidden, names()]).toEqual([true, ["pod-0"]]);
});

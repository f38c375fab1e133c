/// <reference types="node" />
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Row } from "../../src/protocol/update.ts";
import { levelOf, LEVELS } from "../../src/text/level.ts";
import { parseProgress } from "../../src/text/progress.ts";
import { Folds } from "../../src/store/folds.ts";
import { renderRow } from "../../src/store/rendering.ts";
import { Selection } from "../../src/store/selection.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { type Line, logEvent, T0, TASK } from "../helpers.ts";

function fixture<T>(name: string): T[] {
  return JSON.parse(readFileSync(new URL(`../../../tests/parsing/fixtures/${name}.json`, import.meta.url), "utf8")) as T[];
}

interface BlockCase {
  name: string;
  lines: [source: string, text: string][];
  blocks: { kind: string; source: string; type: string; message: string; rows: number[]; chain: string[]; frames: unknown[] }[];
}

/** As `parsing.blocks` tells it; each line a batch of its own, or all of them one. */
function blocks(lines: [string, string][], whole: boolean): unknown[] {
  const texts: string[] = [];
  const sources = [...new Set(lines.map(([source]) => source))];
  const folds = new Folds({ texts, pod: (row) => `${row}`, time: () => 0 });
  folds.reserve(lines.length);
  let end = folds.start(0);
  for (const [row, [source, text]] of lines.entries()) {
    if (!whole) end = folds.start(row);
    texts.push(text);
    folds.add(sources.indexOf(source), row);
    if (!whole) end();
  }
  end();
  folds.settle();
  for (const fold of folds.heads.values()) for (const twin of fold.twins) folds.back[twin] = 0;
  return [...folds.heads]
    .filter(([, { traceback }]) => traceback !== null)
    .toSorted(([a], [b]) => a - b)
    .map(([head, fold]) => {
      const { kind, type, message, chain, frames } = fold.traceback!;
      return { kind, source: lines[head][0], type: type || "Traceback", message, rows: [head, ...folds.membersOf(head)].toSorted((a, b) => a - b), chain, frames };
    });
}

describe.each(fixture<BlockCase>("blocks"))("the page and Python see the same tracebacks: $name", ({ lines, blocks: expected }) => {
  it.each([[true], [false]])("in one batch: %s", (whole) => {
    expect(blocks(lines, whole)).toEqual(expected.map((block) => ({ ...block, frames: block.frames.length })));
  });
});

it.each(fixture<{ line: string; progress: object | null }>("progress"))("the page and Python see the same bar: $line", ({ line, progress: expected }) => {
  const bar = parseProgress(line);
  expect(bar && { ...bar, rate: bar.rate?.toFixed(6) }).toEqual(expected && { ...expected, rate: (expected as { rate: number | null }).rate?.toFixed(6) });
});

interface Program {
  name: string;
  levels: Record<string, number>;
  blocks: { kind: string; type: string; message: string; chain: string[]; rows: [first: number, last: number]; frames: number }[];
  bars: [row: number, label: string, fraction: number][];
}

describe.each(JSON.parse(readFileSync(new URL("../../../tests/programs/programs.json", import.meta.url), "utf8")) as Program[])("what $name printed", ({ name, levels, blocks: expected, bars }) => {
  const texts = readFileSync(new URL(`../../../tests/programs/logs/${name}.log`, import.meta.url), "utf8").replace(/\n$/, "").split("\n");

  it("has the levels that Python sees", () => {
    const found: Record<string, number> = {};
    for (const text of texts) {
      const level = LEVELS[levelOf(text)];
      if (level !== "") found[level] = (found[level] ?? 0) + 1;
    }
    expect(found).toEqual(levels);
  });

  it("has the tracebacks that Python sees", () => {
    const found = blocks(texts.map((text): [string, string] => ["a", text]), false) as { rows: number[] }[];
    expect(found).toEqual(expected.map((block) => ({ ...block, source: "a", rows: expect.anything() as unknown })));
    expect(found.map(({ rows }) => [rows[0], rows.at(-1)])).toEqual(expected.map(({ rows }) => rows));
  });

  it("has the bars that Python sees", () => {
    const found = texts.flatMap((text, row) => {
      const bar = parseProgress(text);
      return bar === null ? [] : [[row, bar.label, Number((bar.fraction ?? 0).toFixed(4))]];
    });
    expect(found).toEqual(bars);
  });
});

const ERROR_OF = (step: number): string[] => ["Traceback (most recent call last):", '  File "/app/train.py", line 212, in step', "    assert finite(loss)", `RuntimeError: loss is NaN at step ${step}`];
const { filter } = fromPlain({ since: "all" });

/** A task and a view of it, as the engine feeds them. */
class Fed {
  readonly store = new TaskStore(TASK);
  readonly selection: Selection;
  #seq = 0;

  constructor(change: Partial<typeof filter> = {}) {
    this.selection = new Selection([this.store], { ...filter, ...change });
  }

  add(...lines: Line[]): this {
    const before = this.store.rows;
    this.store.addLog(logEvent(this.#seq, lines));
    this.#seq += lines.length;
    this.selection.removeJoining(this.store);
    this.store.folds.settle();
    this.selection.addRows(this.store, before, this.store.rows);
    return this;
  }

  get rows(): Row[] {
    const { selection, store } = this;
    while (selection.search(false));
    return Array.from({ length: selection.shown.length }, (_unused, i) => {
      const id = selection.shown.at(i);
      return renderRow(store, selection.rowOf(id), id, 0, selection.matcher, true, selection.opened.has(id));
    });
  }

  get texts(): string[] {
    return this.rows.map(({ text }) => text);
  }

  toggle(index: number): this {
    this.selection.toggleFold(this.selection.shown.at(index));
    return this;
  }
}

const at = (from: number, source: 1 | 2, texts: string[]): Line[] => texts.map((text, i): Line => [T0 + from + i, source, text]);

describe("a traceback is one row", () => {
  it("that names the exception and opens in one piece, whatever lines came in between", () => {
    const [a, b, c, d] = at(10, 1, ERROR_OF(3));
    const fed = new Fed().add([T0, 1, "before"], a, [T0 + 10, 2, "other 1"], b, [T0 + 11, 2, "other 2"], c).add(d, [T0 + 20, 2, "after"]);
    expect(fed.texts).toEqual(["before", "RuntimeError: loss is NaN at step 3", "other 1", "other 2", "after"]);
    expect(fed.rows[1]).toMatchObject({ fold: "shut", level: 5, aside: "1 frame" });
    expect(fed.toggle(1).texts).toEqual(["before", "RuntimeError: loss is NaN at step 3", ...ERROR_OF(3).slice(1), "other 1", "other 2", "after"]);
    expect(fed.toggle(1).texts).toHaveLength(5);
  });

  it("takes lines that come while it is open, and those that turn out to belong to it", () => {
    const fed = new Fed().add(...at(0, 1, ERROR_OF(1).slice(0, 2))).toggle(0);
    expect(fed.add(...at(5, 1, [...ERROR_OF(1).slice(2), ""])).texts).toEqual(["RuntimeError: loss is NaN at step 1", ...ERROR_OF(1).slice(1), ""]);
    fed.add(...at(10, 1, ["During handling of the above exception, another exception occurred:", "", "Traceback (most recent call last):", '  File "b.py", line 1, in f', "KeyError: 1"]));
    expect(fed.texts).toHaveLength(10);
    expect(fed.rows[0]).toMatchObject({ text: "KeyError: 1", aside: "2 frames · 1 more exception" });
    expect(fed.toggle(0).texts).toEqual(["KeyError: 1"]);
  });

  it("is found by the text of any of its lines, also a late one", () => {
    const fed = new Fed({ grep: "NaN" }).add([T0, 1, "x"], ...at(1, 1, ERROR_OF(1).slice(0, 3)));
    expect(fed.texts).toEqual([]);
    expect(fed.add(...at(5, 1, ERROR_OF(1).slice(3))).texts).toEqual(["RuntimeError: loss is NaN at step 1"]);
    expect(new Fed({ grep: "train.py" }).add(...at(1, 1, ERROR_OF(1))).toggle(0).texts).toHaveLength(4);
    expect(new Fed({ exclude: ["NaN"] }).add(...at(1, 1, ERROR_OF(1))).texts).toEqual([]);
    expect(new Fed({ level: "error" }).add(...at(1, 1, ERROR_OF(1)), [T0 + 9, 1, "INFO x"]).texts).toHaveLength(1);
  });

  it("of several pods is one with the others, which open below it", () => {
    const fed = new Fed().add(...at(0, 1, ERROR_OF(1))).add(...at(5, 2, ERROR_OF(2))).add([T0 + 20, 1, "x"], [T0 + 21, 2, "y"]);
    expect(fed.texts).toEqual(["RuntimeError: loss is NaN at step 1", "x", "y"]);
    fed.toggle(0);
    expect(fed.texts.slice(0, 6)).toEqual(["RuntimeError: loss is NaN at step 1", ...ERROR_OF(1).slice(1), "RuntimeError: loss is NaN at step 2", "x"]);
    expect(fed.toggle(4).texts.slice(4, 9)).toEqual(["RuntimeError: loss is NaN at step 2", ...ERROR_OF(2).slice(1), "x"]);
    expect(fed.toggle(0).texts).toHaveLength(3);
    expect(fed.toggle(0).texts).toHaveLength(10);
  });

  it("of the same pod, or much later, stays a row of its own", () => {
    const fed = new Fed().add(...at(0, 1, ERROR_OF(1)), [T0 + 5, 1, "x"], ...at(10, 1, ERROR_OF(2)), ...at(70_000, 2, ERROR_OF(3)));
    fed.add([T0 + 80_000, 1, "y"]).add([T0 + 80_001, 2, "z"]);
    expect(fed.texts.filter((text) => text.startsWith("RuntimeError"))).toHaveLength(3);
  });

  it("keeps the order while folds open, close and grow", () => {
    const fed = new Fed();
    let random = 7;
    const next = (n: number): number => (random = (random * 16_807) % 2_147_483_647) % n;
    const parts = [[...ERROR_OF(1)], [...ERROR_OF(2)]];
    const here = [0, 0];
    for (let i = 0; i < 400; i++) {
      const lines = Array.from({ length: 1 + next(4) }, (_unused, j): Line => {
        const source = next(2);
        return [T0 + i * 10 + j, (source + 1) as 1 | 2, next(5) === 0 ? "between" : parts[source][here[source]++ % 4]];
      });
      fed.add(...lines);
      if (fed.selection.shown.length > 0) fed.toggle(next(fed.selection.shown.length));
      const ids = Array.from({ length: fed.selection.shown.length }, (_unused, k) => fed.selection.shown.at(k));
      expect(new Set(ids).size).toBe(ids.length);
      for (const id of ids) expect(fed.selection.shown.has(id)).toBe(true);
    }
    const opened = Array.from(fed.selection.opened);
    for (const id of opened) fed.selection.toggleFold(id);
    const whole = new Selection([fed.store], filter);
    expect(fed.selection.shown.length).toBe(whole.shown.length);
  });
});

describe("a progress bar is one row", () => {
  const bar = (n: number, label = "train"): string => `${label}:  ${n}%|███       | ${n}/100 [00:0${n % 10}<00:07, 10.00it/s]`;

  it("that stands where it began and shows its current state", () => {
    const fed = new Fed().add([T0, 1, "start"], [T0 + 1, 1, bar(10)], [T0 + 2, 2, "other"]).add([T0 + 3, 1, bar(20)]).add([T0 + 4, 1, bar(30)]);
    expect(fed.texts).toEqual(["start", "train  30\u202f%  30 / 100  10 it/s  7 s left", "other"]);
    expect(fed.rows[1]).toMatchObject({ bar: 0.3, aside: "2 updates", fold: "shut" });
    expect(fed.toggle(1).texts.slice(2, 4)).toEqual([bar(20), bar(30)]);
  });

  it("is one for each of several at once, and a new one when it starts over", () => {
    const fed = new Fed().add([T0, 1, bar(10, "a")], [T0 + 1, 1, `\u001b[A${bar(50, "b")}`], [T0 + 2, 1, bar(20, "a")], [T0 + 3, 1, bar(60, "b")], [T0 + 4, 1, bar(1, "a")]);
    expect(fed.rows.map((row) => row.bar)).toEqual([0.2, 0.6, 0.01]);
    fed.add([T0 + 5, 1, "epoch done"], [T0 + 6, 1, bar(2, "a")]);
    expect(fed.texts).toHaveLength(5);
  });

  it("redrawn within a line shows its last state, the others on demand", () => {
    const fed = new Fed().add([T0, 1, `${bar(10)}\r${bar(40)}\r`]);
    expect(fed.rows[0]).toMatchObject({ bar: 0.4, aside: "1 update", hasDetails: true });
  });
});

describe("equal lines that follow each other", () => {
  const lines: Line[] = [[T0, 1, "GET /healthz 200 in 3 ms"], [T0 + 1, 2, "other"], [T0 + 2, 1, "GET /healthz 200 in 3 ms"], [T0 + 3, 1, "GET /healthz 200 in 7 ms"], ...at(10, 1, ERROR_OF(1)), [T0 + 20, 1, "GET /healthz 200 in 9 ms"]];

  it("stay separate until folding is switched on", () => {
    expect(new Fed().add(...lines).texts).toHaveLength(6);
  });

  it.each([["exact", 2, 5], ["masked", 3, 4]] as const)("%s: become one row with their number and last time", (same, times, rows) => {
    const fed = new Fed();
    fed.store.refold(same);
    for (const line of lines) fed.add(line);
    expect(fed.rows[0]).toMatchObject({ text: "GET /healthz 200 in 3 ms", repeats: times, lastTime: T0 + times, fold: "shut" });
    expect(fed.texts).toHaveLength(rows);
    expect(fed.toggle(0).texts.slice(0, times)).toEqual(lines.filter(([, source]) => source === 1).slice(0, times).map(([, , text]) => text));
    fed.store.refold("");
    fed.selection.reload();
    expect(fed.texts).toHaveLength(6);
    fed.store.refold(same);
    fed.selection.reload();
    expect(fed.texts).toHaveLength(rows);
  });

  it("are folded after a traceback, too, once they are known not to be part of its message", () => {
    const fed = new Fed();
    fed.store.refold("exact");
    fed.add(...at(0, 1, ERROR_OF(1)));
    for (let i = 0; i < 40; i++) fed.add([T0 + 100 + i, 1, "again"]);
    expect(fed.rows.map(({ repeats }) => repeats)).toEqual([undefined, 40]);
  });

  it("are found by the text of any of them", () => {
    const fed = new Fed({ grep: "7 ms" });
    fed.store.refold("masked");
    for (const line of lines) fed.add(line);
    expect(fed.rows).toMatchObject([{ repeats: 3 }]);
    expect(new Fed({ grep: "5 ms" }).add(...lines).texts).toEqual([]);
  });
});

describe("a closed fold", () => {
  const fed = (): Fed => new Fed().add([T0, 1, "x"], ...at(1, 1, ERROR_OF(1)), [T0 + 9, 1, "y"]);

  it("opens if a search matches below it, not if its own row matches", () => {
    const { selection } = fed();
    selection.finder.set("finite(loss)");
    selection.revealMatch(selection.shown.at(1));
    expect(selection.shown.length).toBe(6);
    const other = fed().selection;
    other.finder.set("NaN");
    other.revealMatch(other.shown.at(1));
    expect(other.shown.length).toBe(3);
  });

  it("opens for a jump to one of its lines by number", () => {
    const { selection } = fed();
    selection.reveal(TASK, 3);
    expect(selection.shown.length).toBe(6);
    selection.reveal(TASK, 0);
    expect(selection.shown.length).toBe(6);
  });
});

import { describe, expect, it, vi } from "vitest";
import { fromIso, fromNs, nsTimes, parseWindow } from "../../src/text/time.ts";
import { SeqRanges } from "../../src/store/lines.ts";
import { Selection } from "../../src/store/selection.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { type Line, logEvent, ns, T0, TASK, W0 } from "../helpers.ts";

function shown(selection: Selection): string[] {
  while (selection.search(false));
  return Array.from({ length: selection.shown.length }, (_unused, i) => selection.stores[0].texts[selection.rowOf(selection.shown.at(i))]);
}

function fill(store: TaskStore, selection: Selection | undefined, add: () => void): void {
  const before = store.rows;
  add();
  selection?.addRows(store, before, store.rows);
}

const { filter } = fromPlain({ since: "all" });

describe("the order of lines", () => {
  it("is by time across sources, and as written within a source, even when its clock goes back", () => {
    const store = new TaskStore(TASK);
    const selection = new Selection([store], filter);
    const lines: Line[] = [[T0, 1, "a1"], [T0 + 30, 1, "a2"], [T0 + 10, 1, "a3 (earlier stamp)"], [T0 + 20, 2, "b1"], [T0 + 40, 2, "b2"]];
    fill(store, selection, () => store.addLog(logEvent(0, lines)));
    expect(shown(selection)).toEqual(["a1", "b1", "a2", "a3 (earlier stamp)", "b2"]);
  });

  it("puts a late line in its place and an older page before the loaded lines", () => {
    const store = new TaskStore(TASK);
    const selection = new Selection([store], filter);
    fill(store, selection, () => store.addLog(logEvent(10, [[T0, 1, "now"], [T0 + 50, 1, "later"]])));
    fill(store, selection, () => store.addLog(logEvent(12, [[T0 + 20, 2, "late"]])));
    const time = (ms: number): string => new Date(ms).toISOString();
    const record = { pod: W0.pod, container: "main", run: 0, stream: "stdout" };
    fill(store, selection, () => store.addPage({ records: [{ ...record, seq: 1, time: time(T0 - 100), text: "old 1" }, { ...record, seq: 2, time: time(T0 + 999), text: "old 2, clock ahead" }], older: null }));
    expect(shown(selection)).toEqual(["old 1", "old 2, clock ahead", "now", "late", "later"]);
    expect(store.older).toBeNull();
  });
});

describe("exactly once", () => {
  it("ignores lines that are loaded already, whole or in part, after a resume", () => {
    const store = new TaskStore(TASK);
    const batch = (seq: number, n: number): void => store.addLog(logEvent(seq, Array.from({ length: n }, (_unused, i): Line => [T0 + seq + i, 1, `line ${seq + i}`])));
    batch(0, 100);
    batch(50, 100);
    batch(0, 150);
    batch(200, 10);
    batch(140, 70);
    expect(store.texts).toHaveLength(210);
    expect(new Set(store.texts).size).toBe(210);
    expect(store.lines).toBe(210);
  });

  it("sequence ranges behave like a set", () => {
    const ranges = new SeqRanges();
    const set = new Set<number>();
    let random = 7;
    for (let i = 0; i < 20_000; i++) {
      random = (random * 16_807) % 2_147_483_647;
      const seq = random % 3000;
      expect(ranges.add(seq)).toBe(!set.has(seq));
      set.add(seq);
    }
  });

  it("reads the numbers of a filtered stream from its offsets", () => {
    const store = new TaskStore(TASK);
    store.addLog({ ...logEvent(5, [[T0, 1, "five"], [T0, 1, "nine"]]), q: [0, 4] });
    store.addLog(logEvent(6, [[T0, 1, "six"]]));
    expect([...store.seq.subarray(0, 3)]).toEqual([5, 9, 6]);
  });
});

describe("filters", () => {
  const lines: Line[] = [[T0, 1, "INFO ready"], [T0 + 1, 2, "epoch 1 loss=0.5"], [T0 + 2, 1, "WARNING slow disk"], [T0 + 3, 2, "ERROR Disk failed"], [T0 + 4, 1, "\u001b[31mlo\u001b[0mss=0.4"]];
  const select = (change: Partial<typeof filter>): string[] => {
    const store = new TaskStore(TASK);
    store.addLog(logEvent(0, lines));
    return shown(new Selection([store], { ...filter, ...change }));
  };

  it("a text ignores case unless it has capitals, and ignores colours", () => {
    expect(select({ grep: "disk" })).toEqual(["WARNING slow disk", "ERROR Disk failed"]);
    expect(select({ grep: "Disk" })).toEqual(["ERROR Disk failed"]);
    expect(select({ grep: "loss=" })).toHaveLength(2);
  });

  it("regular expressions, excluded words, levels, sources", () => {
    expect(select({ grep: "/loss=0\\.[45]/" })).toHaveLength(2);
    expect(select({ grep: "disk -failed" })).toEqual(["WARNING slow disk"]);
    expect(select({ exclude: ["disk", "loss"] })).toEqual(["INFO ready"]);
    expect(select({ exclude: ["/^(INFO|ERROR)/", "loss"] })).toEqual(["WARNING slow disk"]);
    expect(select({ level: "warning" })).toEqual(["WARNING slow disk", "ERROR Disk failed"]);
    expect(select({ level: "info" })).toHaveLength(5);
    expect(select({ off: [`${TASK}/${W0.pod}/main`] })).toHaveLength(2);
    expect(select({ pod: "*worker-0" })).toHaveLength(3);
  });

  it("an invalid regular expression is reported, and everything is shown", () => {
    const store = new TaskStore(TASK);
    store.addLog(logEvent(0, lines));
    const selection = new Selection([store], { ...filter, grep: "(", regex: true });
    expect(selection.matcher.error).toMatch(/group/i);
    expect(shown(selection)).toHaveLength(5);
  });

  it("a text is searched to the end without a watchdog, however long a busy machine takes; a regular expression is not", () => {
    const store = new TaskStore(TASK);
    store.addLog(logEvent(0, Array.from({ length: 100 }, (_unused, i): Line => [T0 + i, 1, `n ${i % 10}`])));
    let now = T0;
    const clock = vi.spyOn(Date, "now").mockImplementation(() => (now += 300));
    const selection = new Selection([store], { ...filter, grep: "n 7" });
    expect([shown(selection).length, selection.slowRegex]).toEqual([10, ""]);
    selection.refilter({ ...filter, grep: "/n 7/" });
    expect([shown(selection).length, selection.slowRegex]).toEqual([0, "/n 7/"]);
    clock.mockRestore();
  });

  it("matches that arrive during a search are there once, in order", () => {
    const store = new TaskStore(TASK);
    const many = (seq: number, n: number): void => store.addLog(logEvent(seq, Array.from({ length: n }, (_unused, i): Line => [T0 + seq + i, 1, `n ${(seq + i) % 10}`])));
    many(0, 120_000);
    const selection = new Selection([store], filter);
    selection.refilter({ ...filter, grep: "n 7" });
    expect(selection.search(true)).toBe(true);
    fill(store, selection, () => many(120_000, 1000));
    expect(shown(selection)).toHaveLength(12_100);
    const keys = Array.from({ length: selection.shown.length }, (_unused, i) => selection.keyOf(selection.shown.at(i)));
    expect(keys).toEqual(keys.toSorted((a, b) => a - b));
  });
});

describe("gaps and notices", () => {
  it("a gap passes every filter, a start notice none with a text", () => {
    const store = new TaskStore(TASK);
    store.addStatus({ task: TASK, seq: 0, notice: "started", time: ns(T0), source: W0 });
    store.addLog(logEvent(1, [[T0, 1, "x"]]));
    store.addGap({ task: TASK, seq: 2, from: ns(T0), to: ns(T0 + 1000), reason: "rotated away", lines: 12, source: W0 });
    expect(shown(new Selection([store], { ...filter, grep: "nowhere" }))).toEqual([expect.stringContaining("12 lines of train-1-worker-0 · main are missing")]);
    expect([store.gaps.length, store.gapLines, store.lines]).toEqual([1, 12, 1]);
  });

  it("the end of a task stands after lines that are loaded later", () => {
    const store = new TaskStore(TASK);
    const selection = new Selection([store], filter);
    fill(store, selection, () => store.addEnd({ task: TASK, seq: 9, state: "succeeded", exit_code: 0, message: "Job complete exit 0" }));
    fill(store, selection, () => store.addPage({ records: [{ seq: 8, time: new Date(T0).toISOString(), pod: W0.pod, container: "main", text: "last line" }], older: null }));
    expect(shown(selection)).toEqual(["last line", "Job complete exit 0"]);
    expect(store.newest).toBe(T0);
  });

  it("a repeated gap counts once", () => {
    const store = new TaskStore(TASK);
    for (let i = 0; i < 2; i++) store.addGap({ task: TASK, seq: 2, reason: "x", lines: 5 });
    expect([store.gaps.length, store.gapLines]).toEqual([1, 5]);
  });
});

it("parses times and windows", () => {
  expect(fromNs("1700000000000000000")).toBe(T0);
  expect(fromIso("2026-01-01T00:00:00.123456789Z")).toBeCloseTo(Date.parse("2026-01-01T00:00:00Z") + 123.456789, 3);
  expect(fromIso("2026-01-01T02:00:00+02:00")).toBe(Date.parse("2026-01-01T00:00:00Z"));
  expect([parseWindow("90s"), parseWindow("1h30m"), parseWindow("all")]).toEqual([90_000, 5_400_000, null]);
  expect(fromNs("999999")).toBeCloseTo(0.999999, 9);
});

it("a line's time is the same number in whichever event or page it comes", () => {
  const start = BigInt(Date.parse("2026-01-01T00:00:00Z")) * 1_000_000n;
  for (let i = 0n; i < 500n; i++) {
    const at = start + i * 7_123_457n;
    const expected = fromNs(String(at));
    for (let j = 0n; j <= i; j += 17n) expect(nsTimes(String(start + j * 7_123_457n))(Number((i - j) * 7_123_457n))).toBe(expected);
    const iso = `${new Date(Number(at / 1_000_000n)).toISOString().slice(0, 19)}.${String(at % 1_000_000_000n).padStart(9, "0")}Z`;
    expect(fromIso(iso)).toBe(expected);
    expect(fromIso(iso.replace(/0+Z$/, "Z"))).toBe(expected);
  }
});

it("notices have marks on the time axis", () => {
  const store = new TaskStore(TASK);
  const key = `${TASK}/${W0.pod}/main`;
  store.addStatus({ task: TASK, seq: 0, notice: "started", time: ns(T0), source: W0 });
  store.addStatus({ task: TASK, seq: 1, notice: "ended", time: ns(T0 + 5), source: W0, exit_code: 1, reason: "Error" });
  store.addStatus({ task: TASK, seq: 2, notice: "started", time: ns(T0 + 9), source: { ...W0, run: 1 } });
  store.addGap({ task: TASK, seq: 3, from: ns(T0 + 10), to: ns(T0 + 20), reason: "rotated away", source: W0 });
  store.addStatus({ task: TASK, seq: 4, notice: "event", time: ns(T0 + 30), level: "warning", message: "BackOff" });
  store.addEnd({ task: TASK, seq: 5, time: ns(T0 + 40), state: "failed", message: "Job failed exit 1" });
  expect(store.marks.map(({ kind, time, to, level, source }) => [kind, time - T0, to - T0, level, source])).toEqual([
    ["started", 0, 0, 0, key], ["ended", 5, 5, 5, key], ["restart", 9, 9, 0, key], ["gap", 10, 20, 5, key], ["event", 30, 30, 4, ""], ["end", 40, 40, 5, ""],
  ]);
});

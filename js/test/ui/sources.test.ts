/** Which sources are shown: the tables that Python has, too; and what a choice in the side list is in Python's parameters. */

import { readFileSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import type { RunSummary, ContainerSummary } from "../../src/protocol/update.ts";
import { boundedSourceQuery, type RunId, sourceQuery, sourceTest } from "../../src/text/sources.ts";
import { formatAddress, fromPlain, parseAddress, toPlain } from "../../src/client/settings.ts";
import { describeState, SourceSwitches } from "../../src/ui/sourcelist.ts";
import { sourceEntries } from "../../src/ui/sourcenames.ts";

interface Table {
  sources: [string, string, number][];
  cases: [Record<string, string>, number[]][];
  wrong: string[];
}

function fixture<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../tests/query/fixtures/${name}`, import.meta.url), "utf8")) as T;
}

const { sources: rows, cases, wrong } = fixture<Table>("sources.json");
const RUNS: RunId[] = rows.map(([pod, container, run]) => ({ pod, container, run }));

test.each(cases)("%j", (query, kept) => {
  const wants = sourceTest(fromPlain(query).filter, RUNS);
  expect(RUNS.flatMap((one, i) => (wants(one) ? [i] : []))).toEqual(kept);
});

test.each(wrong)("%s is not a run, so it does not filter", (run) => {
  expect(RUNS.every(sourceTest(fromPlain({ run }).filter, RUNS))).toBe(true);
});

it("an invalid glob matches nothing, and throws nothing", () => {
  const kept = (pod: string): number => RUNS.filter(sourceTest(fromPlain({ pod }).filter, RUNS)).length;
  expect(["[z-a]*", "[", "train-[01", "(", "train-[]0]", "a\\"].map(kept)).toEqual([0, 0, 0, 0, 4, 0]);
});

describe("role, rank and attempt", () => {
  const table = fixture<{ sources: [string, string, string][]; cases: Table["cases"]; wrong: Record<string, string[]> }>("members.json");
  const members = table.sources.map(([role, rank, attempt], i): RunId => ({ pod: `p-${i}`, container: "main", run: 0, role, rank, attempt }));
  const kept = (query: object): number[] => {
    const wants = sourceTest(fromPlain(query).filter, members);
    return members.flatMap((one, i) => (wants(one) ? [i] : []));
  };

  test.each(table.cases)("%j", (query, expected) => expect(kept(query)).toEqual(expected));

  test.each(Object.entries(table.wrong).flatMap(([name, texts]) => texts.map((text) => ({ [name]: text }))))("%j is invalid, so it does not filter", (query) => {
    expect(kept(query)).toHaveLength(members.length);
  });

  it("have no default window if an attempt is chosen, and are in the address", () => {
    expect(fromPlain({ attempt: "0" }).filter.since).toBe(null);
    expect(fromPlain({ rank: "0" }).filter.since).toBe(60_000);
    const query = { role: "worker", rank: "0-3", attempt: "-1", since: "all" };
    expect(toPlain(fromPlain(query))).toEqual(query);
    expect(parseAddress(formatAddress(["a"], query))).toEqual(query);
  });
});

/** What the store tells of the table's sources, some of them switched off. */
function summaries(off: string[], pieces: Partial<Record<string, Partial<ContainerSummary>>> = {}): ContainerSummary[] {
  const found = new Map<string, ContainerSummary>();
  for (const { pod, container, run } of RUNS) {
    const key = `ns:job/train/${pod}/${container}`;
    const source: ContainerSummary = found.get(key) ?? { key, task: "ns:job/train", pod, container, kind: container === "side" ? "sidecar" : "main", role: "", rank: "", attempt: "", mainContainer: "", colour: 0, on: true, runs: [], index: null, lines: 1, errors: 0, state: "ended", exit: 0, node: "", lastLineAt: 1, ...pieces[pod] };
    const one: RunSummary = { key: `${key}/${run}`, run, on: !off.includes(key) && !off.includes(`${key}/${run}`), lines: 1, state: "ended", exit: run, endMessage: "", startedAt: 1, endedAt: 2, lastLineAt: 1 };
    source.runs.push(one);
    source.on = source.runs.some(({ on }) => on);
    found.set(key, source);
  }
  return [...found.values()];
}

const K = "ns:job/train/";

it("a sidecar that is stopped with its pod has not failed; a main container has", () => {
  const said = (group: "" | "sidecars", exit: number): string => describeState({ group, ended: true, waiting: false, exit });
  expect([said("sidecars", 143), said("sidecars", 1), said("", 143)]).toEqual(["stopped with its pod", "failed, exit 1", "failed, exit 143"]);
});

describe("a choice of sources", () => {
  const said = (off: string[]): object => sourceQuery({ ...fromPlain({}).filter, off }, summaries(off));

  it("is sent as pods and containers if possible, otherwise run by run", () => {
    expect(said([])).toEqual({});
    expect(said([`${K}train-0/side`, `${K}train-1/side`])).toEqual({ container: "main" });
    expect(said([`${K}train-0/main`, `${K}train-0/side`])).toEqual({ pod: "train-1,api" });
    expect(said([`${K}train-0/main`])).toEqual({ run: "train-0/side/*,train-1/main/*,train-1/side/*,api/main/*" });
    expect(said(new SourceSwitches(summaries([])).onlyRun(`${K}train-0/main`, `${K}train-0/main/1`))).toEqual({ run: "train-0/main/1" });
    expect(said(summaries([]).map(({ key }) => key))).toEqual({ pod: "-" });
    expect(said(["something that is gone"])).toEqual({});
    expect(sourceQuery(fromPlain({ pod: "train-?", run: "-1" }).filter, summaries([]))).toEqual({ pod: "train-?", run: "-1" });
  });

  it("selects the same sources in Python", () => {
    const keys = summaries([]).flatMap(({ key, runs }) => [key, ...runs.map((one) => one.key)]);
    for (let seed = 1; seed < 400; seed++) {
      const off = keys.filter((_key, i) => (Math.imul(seed, 2654435761 + i * 40503) >>> 13) % 3 === 0);
      const shown = summaries(off).flatMap(({ runs }) => runs.filter(({ on }) => on).map(({ key }) => key));
      const wants = sourceTest(fromPlain(said(off)).filter, RUNS);
      expect(RUNS.filter(wants).map(({ pod, container, run }) => `${K}${pod}/${container}/${run}`).toSorted()).toEqual(shown.toSorted());
    }
  });

  it("that is too long for an address is applied in the page", () => {
    const many = Array.from({ length: 200 }, (_unused, i) => summaries([]).map((source) => ({ ...source, pod: `${source.pod}-${i}`, on: i % 2 === 0 || source.container === "side" }))).flat();
    const filter = { ...fromPlain({}).filter, off: ["x"] };
    expect(sourceQuery(filter, many).run!.length).toBeGreaterThan(10_000);
    expect(boundedSourceQuery(filter, many)).toEqual({});
  });
});

describe("switches", () => {
  const [a, b] = [`${K}train-0/main`, `${K}train-1/main`];
  const of = (off: string[]): SourceSwitches => new SourceSwitches(summaries(off));

  it("hide a run and show it again", () => {
    expect(of([]).toggledRun(a, `${a}/1`)).toEqual([`${a}/1`]);
    expect(of([`${a}/1`]).toggledRun(a, `${a}/1`)).toEqual([]);
    expect(of([a]).toggledRun(a, `${a}/3`)).toEqual([`${a}/0`, `${a}/1`]);
  });

  it("hide all runs of a source, future ones too", () => {
    expect(of([`${a}/1`]).set([a], false)).toEqual([a]);
    expect(of([a]).set([a], true)).toEqual([]);
    expect([...of([`${b}/0`, `${b}/1`]).off]).toEqual([b]);
  });

  it("show only one, and all the second time", () => {
    const only = of([]).onlyRun(b, `${b}/0`);
    expect(only).toEqual([a, `${K}train-0/side`, `${b}/1`, `${K}train-1/side`, `${K}api/main`]);
    expect(of(only).onlyRun(b, `${b}/0`)).toEqual([]);
    expect(of(only).only([b])).toEqual(only.filter((key) => key !== `${b}/1`));
  });
});

describe("pods of an indexed Job", () => {
  it("are named and ordered by their index", () => {
    const indexed = summaries([], { "train-0": { index: 10 }, "train-1": { index: 9 }, api: { index: 0 } });
    expect(sourceEntries(indexed).map(({ name }) => name)).toEqual(["#0", "#9", "#10", "side ×2"]);
  });

  it("that replaced a failed one are told apart", () => {
    const again = summaries([], { "train-0": { index: 3 }, "train-1": { index: 3 }, api: { index: 0 } }).map((one) => ({ ...one, pod: `${one.pod}-bb7zq` }));
    expect(sourceEntries(again).map(({ name }) => name).slice(0, 3)).toEqual(["#0", "#3 bb7zq", "#3 bb7zq"]);
    const some = summaries([], { "train-0": { index: 3 } });
    expect(sourceEntries(some).some(({ name }) => name.includes("#"))).toBe(false);
  });
});

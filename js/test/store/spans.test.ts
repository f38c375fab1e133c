/** What is loaded where somebody looks and dropped where nobody does: whatever the order, no line twice, each in its place, the reader where they were. */

import { describe, expect, it } from "vitest";
import type { LogPage, PageRecord } from "../../src/protocol/events.ts";
import type { Row, Update } from "../../src/protocol/update.ts";
import type { Link, PageQuery } from "../../src/transport/link.ts";
import { evict } from "../../src/store/eviction.ts";
import { NOTICE } from "../../src/store/lines.ts";
import { SpanLoader } from "../../src/store/loader.ts";
import { Outline } from "../../src/store/spans.ts";
import type { RowEditor } from "../../src/store/tasks.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { View, type ViewContext } from "../../src/store/view.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { type Line, logEvent, T0, TASK, W0, W1 } from "../helpers.ts";

type Written = [seq: number, ms: number, source: 1 | 2];

function random(seed: number): (below: number) => number {
  let state = (seed * 7919 + 1) % 2_147_483_647;
  return (below) => (state = (state * 16_807) % 2_147_483_647) % below;
}

/** A recording whose clocks now and then go back, and the server's pages of it. */
class Recording {
  readonly lines: Written[] = [];
  asked: PageQuery[] = [];
  most = 60;

  constructor(
    private readonly pick: (below: number) => number,
    count: number,
  ) {
    for (let i = 0; i < count; i++) this.write();
  }

  write(): Written {
    const seq = this.lines.length + 1;
    const back = this.pick(10) === 0 ? this.pick(40) : 0;
    const line: Written = [seq, T0 + seq * 10 - back, this.pick(2) === 0 ? 1 : 2];
    this.lines.push(line);
    return line;
  }

  get byTime(): Written[] {
    return this.lines.toSorted((a, b) => a[1] - b[1] || a[0] - b[0]);
  }

  outline(): Outline {
    const times = this.lines.map(([, ms]) => ms);
    const [first, last, width] = [Math.min(...times), Math.max(...times), 64];
    const lines = Array.from({ length: Math.floor((last - first) / width) + 1 }, () => 0);
    for (const ms of times) lines[Math.floor((ms - first) / width)]++;
    return new Outline({ records: times.length, upto: times.length, first: `${first}000000`, last: `${last}000000`, start: `${first}000000`, width: `${width}000000`, lines, notices: [] });
  }

  page(query: PageQuery): LogPage {
    this.asked.push(query);
    const sorted = this.byTime;
    const limit = Math.min(query.limit, this.most);
    const place = ([seq, ms]: Written): string => `${ms}-${seq}`;
    const at = (cursor: string): number => {
      const [ms, seq] = cursor.split("-").map(Number);
      return sorted.findIndex((line) => line[1] > ms || (line[1] === ms && line[0] >= seq));
    };
    let [from, to] = [0, 0];
    if (query.at !== undefined) {
      const time = Date.parse(query.at);
      const middle = sorted.filter(([, ms]) => ms < time).length;
      [from, to] = [Math.max(0, middle - limit / 2), middle + limit / 2];
    } else if (query.after !== undefined) [from, to] = [at(query.after) + 1, at(query.after) + 1 + limit];
    else {
      to = query.before === undefined ? sorted.filter(([, ms]) => ms <= Date.parse(query.until!)).length : at(query.before);
      from = Math.max(0, to - limit);
    }
    const part = sorted.slice(from, to);
    return {
      records: inOrder(part).map(record),
      older: from > 0 && query.after === undefined ? place(sorted[from]) : null,
      newer: to < sorted.length && (query.at ?? query.after) !== undefined ? place(part.at(-1) ?? sorted[to - 1]) : null,
    };
  }
}

/** By time, but within a source as written. */
function inOrder(lines: Written[]): Written[] {
  const reached = [0, 0, 0];
  const keyed = lines.toSorted((a, b) => a[0] - b[0]).map((line): [number, Written] => [(reached[line[2]] = Math.max(reached[line[2]], line[1])), line]);
  return keyed.toSorted((a, b) => a[0] - b[0] || a[1][0] - b[1][0]).map(([, line]) => line);
}

function record([seq, ms, source]: Written): PageRecord {
  return { seq, time: new Date(ms).toISOString(), pod: (source === 1 ? W0 : W1).pod, container: "main", run: 0, stream: "stdout", text: `line ${seq}` };
}

class Reader {
  readonly store = new TaskStore(TASK);
  readonly view: View;
  update!: Update;

  constructor(readonly recording: Recording, begin: number, readonly newestFirst = false) {
    const { store } = this;
    const tail = recording.byTime.slice(-begin);
    for (const line of tail.toSorted((a, b) => a[0] - b[0])) this.live(line);
    store.setOutline(recording.outline());
    const [, low] = tail[0];
    store.addSpan({ from: -Infinity, to: store.firstKey, low: store.outline!.first, high: low, lines: store.outline!.between(0, low), until: Infinity, onDemand: false });
    this.view = new View("v", "m", [store], fromPlain({ since: "all" }).filter, { from: 0, count: 40, follow: true, newestFirst: this.newestFirst, anchor: null, anchorIndex: 0 });
    this.draw();
  }

  readonly rows: RowEditor = {
    add: (work) => {
      const before = this.store.rows;
      work();
      this.view.selection.addRows(this.store, before, this.store.rows);
    },
    close: (span) => {
      this.store.closeSpan(span);
      this.view.selection.removeRow(this.store, span.row);
    },
  };

  live([seq, ms, source]: Written): void {
    const add = (): void => this.store.addLog(logEvent(seq, [[ms, source, `line ${seq}`] as Line]));
    if (this.view) this.rows.add(add);
    else add();
  }

  draw(): void {
    this.update = this.view.update({ now: T0 + 1e9, live: true, loading: false, shared: {} } as unknown as ViewContext);
  }

  /** Drags the bar to a row; what is not there is loaded, as the engine does it. */
  async to(bar: number): Promise<void> {
    this.view.viewport = { from: Math.max(0, Math.min(bar, this.update.total - 40)), count: 40, follow: false, newestFirst: this.newestFirst, anchor: null, anchorIndex: 0 };
    const link = { page: (_task: string, query: PageQuery) => Promise.resolve(this.recording.page(query)) } as unknown as Link;
    for (let i = 0; i < 30; i++) {
      this.draw();
      const { wantedRows } = this.view;
      if (wantedRows === null) return;
      await new SpanLoader(this.store, link, this.rows).loadRows(wantedRows);
      const held = this.held();
      if (held !== undefined) this.hold(held);
    }
    throw new Error("nothing comes");
  }

  /** The row in the middle of what is seen. */
  held(): [index: number, row: Row] | undefined {
    const at = this.update.rows.findIndex((row, i) => i >= 15 && row.kind === "line");
    return at === -1 ? undefined : [this.update.first + at, this.update.rows[at]];
  }

  hold([index, row]: [number, Row]): void {
    this.view.viewport = { ...this.view.viewport, from: this.update.first, follow: false, anchor: row.id, anchorIndex: index };
  }

  drop(lines: number): void {
    const before = this.store.rows;
    const place = this.view.readerTime();
    if (!evict(this.store, place === null ? [] : [place], lines)) return;
    this.view.selection.removeEvicted();
    this.view.selection.addRows(this.store, before, this.store.rows);
  }

  seqs(): number[] {
    const { all } = this.view.selection;
    const rows = Array.from({ length: all.length }, (_unused, i) => this.view.selection.rowOf(all.at(i)));
    return rows.filter((row) => !(this.store.flags[row] & NOTICE)).map((row) => this.store.seq[row]);
  }

  check(): void {
    const seqs = this.seqs();
    expect(new Set(seqs).size).toBe(seqs.length);
    expect(this.store.lines).toBe(seqs.length);
    const source = new Map(this.recording.lines.map(([seq, , one]) => [seq, one]));
    for (const one of [1, 2]) {
      const mine = seqs.filter((seq) => source.get(seq) === one);
      expect(mine).toEqual(mine.toSorted((a, b) => a - b));
    }
  }
}

describe.each(Array.from({ length: 14 }, (_unused, seed): [number, boolean] => [seed, seed % 2 > 0]))("a recording that is viewed in any order (%i, newest first: %s)", (seed, newestFirst) => {
  it("shows no line twice, keeps order and place, and has everything in the end", async () => {
    const pick = random(seed + 1);
    const recording = new Recording(pick, 1500);
    const reader = new Reader(recording, 30 + pick(200), newestFirst);
    for (let i = 0; i < 25; i++) {
      await reader.to(pick(reader.update.total));
      const held = reader.held();
      if (held) {
        reader.hold(held);
        for (let n = pick(20); n > 0; n--) reader.live(recording.write());
        if (pick(2) === 0) reader.drop(150 + pick(300));
        reader.draw();
        const at = reader.update.rows.findIndex(({ id }) => id === held[1].id);
        expect(at).not.toBe(-1);
        // The row is where it was, or the update says by how much all have moved.
        expect(reader.update.first + at).toBe(held[0] + reader.update.shift);
      }
      reader.check();
    }
    for (let i = 0; i < 400 && reader.store.spans.length > 0; i++) {
      const bar = reader.view.selection.shown.indexFor(reader.view.selection.idOf(0, reader.store.spans[0].row));
      await reader.to(newestFirst ? reader.update.total - 2 - bar : bar + 1);
      if (reader.store.spans.length > 0 && reader.view.wantedRows === null) await new SpanLoader(reader.store, { page: (_task: string, query: PageQuery) => Promise.resolve(recording.page(query)) } as unknown as Link, reader.rows).loadAfter(reader.store.spans[0]);
    }
    expect(reader.store.spans).toEqual([]);
    expect(reader.seqs().toSorted((a, b) => a - b)).toEqual(recording.lines.map(([seq]) => seq));
    reader.check();
  });
});

it.each([false, true])("the scroll bar stands for the whole recording, and leads where it points (newest first: %s)", async (newestFirst) => {
  const recording = new Recording(random(3), 20_000);
  recording.most = 2000;
  const reader = new Reader(recording, 100, newestFirst);
  expect(Math.abs(reader.update.total - 20_000)).toBeLessThan(50);
  for (const share of [0.5, 0.1, 0.9, 0.3, 0.7]) {
    await reader.to(Math.round(share * reader.update.total));
    const seqs = reader.update.rows.filter(({ kind }) => kind === "line").map(({ seq }) => seq);
    expect(seqs.length).toBeGreaterThanOrEqual(30);
    expect(Math.abs(seqs[20] / 20_000 - (newestFirst ? 1 - share : share))).toBeLessThan(0.01);
    expect(seqs[0] < seqs[29]).toBe(!newestFirst);
    expect(Math.abs(reader.update.total - 20_000)).toBeLessThan(200);
  }
  // Nothing was loaded but what was looked at.
  expect(recording.asked.length).toBeLessThan(12);
  await reader.to(newestFirst ? reader.update.total - 1 : 0);
  expect((newestFirst ? reader.update.rows.toReversed() : reader.update.rows).slice(0, 3).map(({ kind, text }) => (kind === "line" ? text : kind))).toEqual(["edge", "line 1", "line 2"]);
});

it("removed rows leave the arrays", () => {
  const recording = new Recording(random(5), 2000);
  const reader = new Reader(recording, 1000);
  reader.drop(200);
  const before = reader.seqs();
  const { spans, rows } = reader.store;
  const moved = reader.store.compact();
  expect([reader.store.rows, moved.length, reader.store.removedRows]).toEqual([reader.view.selection.all.length, rows, 0]);
  const anew = reader.view.recreate([reader.store], reader.view.viewport);
  expect(Array.from({ length: anew.selection.all.length }, (_unused, i) => anew.selection.all.at(i)).filter((row) => !(reader.store.flags[row] & NOTICE)).map((row) => reader.store.seq[row])).toEqual(before);
  expect(reader.store.texts[spans[0].row]).toMatch(/^Not loaded: \{\d+\} to \{\d+\}, about/);
});

/**
 * The metrics of one task as curves. The worker reads loaded lines as they arrive, for a few milliseconds at a time. The server
 * reads the other lines, once. Nothing is read while no view shows a chart.
 */

import type { Chart, Curve } from "../protocol/update.ts";
import { parseMetrics } from "../text/metrics.ts";
import { MetricTables, type TableRow } from "../text/metrictables.ts";
import type { Link } from "../transport/link.ts";
import type { SseEvent } from "../transport/sseparser.ts";
import { NOTICE } from "./lines.ts";
import type { TaskStore } from "./taskstore.ts";

/** A curve that reaches this many points is thinned out to at most half as many. */
const MAX_POINTS = 4096;
/** Maximum number of points that are sent to the page, for all curves together. */
const MAX_SENT_POINTS = 24_000;
const MIN_SENT_POINTS = 100;
/** Maximum number of metrics. Further ones are only counted. */
const MAX_METRICS = 100;
/** Points kept of each time interval: first, last, minimum and maximum (M4, as in analysis/downsample.py), and the first that is not finite. */
const POINTS_PER_STRETCH = 5;
/** Number of rows that are read between two checks of the time. */
const ROWS_PER_CHECK = 64;

interface Point {
  time: number;
  step: number;
  value: number;
  seq: number;
}

/** A series as the server sends it. All lists have the same length. */
export interface SeriesDoc {
  name: string;
  pod: string;
  container: string;
  time: number[];
  step: (number | null)[];
  value: (number | string)[];
  seq: number[];
}

export class Curves {
  readonly #points = new Map<string, { name: string; source: string; points: Point[]; sorted: boolean }>();
  readonly #names = new Set<string>();
  readonly #leftOut = new Set<string>();
  /** The training epoch that each source is in, and the sort key of the line that reported it. */
  readonly #epochs = new Map<number, { since: number; epoch: number }>();
  readonly #tables = new Map<number, MetricTables>();
  #next = 0;

  constructor(readonly store: TaskStore) {}

  get omittedMetrics(): number {
    return this.#leftOut.size;
  }

  get isBehind(): boolean {
    return this.#next < this.store.rows;
  }

  /** Read new lines for at most `limitMs`. Return whether they report values. */
  read(limitMs: number): boolean {
    const { store } = this;
    const end = performance.now() + limitMs;
    let result = false;
    for (let row = this.#next; row < store.rows; row++) {
      if (row % ROWS_PER_CHECK === 0 && performance.now() > end) break;
      this.#next = row + 1;
      // Skip search hits: the server reads those lines for the chart.
      if (store.flags[row] & NOTICE || store.isRemoved(row) || store.isSearchHit(row)) continue;
      for (const report of parseMetrics(store.texts[row], this.#tablesOf(row))) {
        const at = this.#stepOf(row, report.step, report.epoch);
        const points = report.values.map(([name, value]) => {
          const point: Point = { time: store.timeOf(row), step: at, value, seq: store.seq[row] };
          this.#add(name, this.#sourceOf(row), point);
          return point;
        });
        if ("onStep" in report) {
          (report as TableRow).onStep = (late) => {
            for (const point of points) point.step = late;
          };
        }
        result = true;
      }
    }
    return result;
  }

  /** Adjust to new row numbers. `rows` holds them by the old ones, -1 for removed rows. */
  renumber(rows: Int32Array): void {
    let next = 0;
    for (let row = 0; row < this.#next; row++) if (rows[row] >= 0) next++;
    this.#next = next;
  }

  /** Add values that the server has read. If a line is also loaded, its point comes twice: `sortPoints` drops one. */
  addSeries({ name, pod, container, time, step, value, seq }: SeriesDoc): void {
    const source = this.store.containerKey({ pod, container });
    for (const [i, number] of seq.entries()) this.#add(name, source, { time: time[i] / 1e6, step: step[i] ?? Number.NaN, value: parseValue(value[i]), seq: number });
  }

  /** Return the curves. `share` is this task's share of `MAX_SENT_POINTS`. */
  build(share: number): Curve[] {
    const most = Math.max(MIN_SENT_POINTS, Math.floor((MAX_SENT_POINTS * share) / Math.max(1, this.#points.size)));
    return [...this.#points.values()].map((series) => {
      sortPoints(series);
      const points = series.points.length > most ? thinOut(series.points, Math.floor(most / POINTS_PER_STRETCH)) : series.points;
      const column = (pick: (point: Point) => number): Float64Array => Float64Array.from(points, pick);
      return { name: series.name, source: series.source, task: this.store.task, time: column(({ time }) => time), step: column(({ step }) => step), value: column(({ value }) => value), seq: column(({ seq }) => seq) };
    });
  }

  #sourceOf(row: number): string {
    const source = this.store.sources[this.store.source[row]];
    return source ? this.store.containerKey(source) : "";
  }

  #tablesOf(row: number): MetricTables {
    const id = this.store.source[row];
    let tables = this.#tables.get(id);
    if (tables === undefined) this.#tables.set(id, (tables = new MetricTables()));
    return tables;
  }

  /** Return the step of a line. Without one, it is the training epoch that the line's source is in. Lines from before that epoch have none. */
  #stepOf(row: number, step: number, epoch: number): number {
    const id = this.store.source[row];
    const key = this.store.key[row];
    const last = this.#epochs.get(id);
    const isLater = last === undefined || key >= last.since;
    if (!Number.isNaN(epoch) && isLater) this.#epochs.set(id, { since: key, epoch });
    return Number.isNaN(step) && last && isLater ? last.epoch : step;
  }

  #add(name: string, source: string, point: Point): void {
    if (!this.#names.has(name)) {
      if (this.#names.size >= MAX_METRICS) {
        if (this.#leftOut.size < 10 * MAX_METRICS) this.#leftOut.add(name);
        return;
      }
      this.#names.add(name);
    }
    const key = `${name}\n${source}`;
    let series = this.#points.get(key);
    if (series === undefined) this.#points.set(key, (series = { name, source, points: [], sorted: true }));
    const last = series.points.at(-1);
    if (last && (last.time > point.time || (last.time === point.time && last.seq >= point.seq))) series.sorted = false;
    series.points.push(point);
    if (series.points.length < MAX_POINTS) return;
    sortPoints(series);
    series.points = thinOut(series.points, MAX_POINTS / 2 / POINTS_PER_STRETCH);
  }
}

function parseValue(value: number | string): number {
  return typeof value === "number" ? value : Number(value.replace("inf", "Infinity"));
}

/** Sort points by time, and drop one of each two that came from the page and from the server. */
function sortPoints(series: { points: Point[]; sorted: boolean }): void {
  if (series.sorted) return;
  series.sorted = true;
  series.points.sort((a, b) => a.seq - b.seq);
  series.points = series.points.filter((point, i, all) => {
    for (let before = i - 1; before >= 0 && all[before].seq === point.seq; before--) {
      if (!Object.is(all[before].value, point.value)) continue;
      // The server has read earlier lines, so it may know a step that the page does not.
      if (Number.isNaN(all[before].step)) all[before].step = point.step;
      return false;
    }
    return true;
  });
  series.points.sort((a, b) => a.time - b.time || a.seq - b.seq);
}

function thinOut(points: Point[], stretches: number): Point[] {
  const from = points[0].time;
  const width = (points.at(-1)!.time - from) / stretches || 1;
  const kept: Point[] = [];
  for (let begin = 0; begin < points.length; ) {
    const stretch = Math.floor((points[begin].time - from) / width);
    let end = begin + 1;
    while (end < points.length && Math.floor((points[end].time - from) / width) === stretch) end++;
    const chosen = new Set([begin, end - 1]);
    let [least, most, notFinite] = [-1, -1, -1];
    for (let i = begin; i < end; i++) {
      const { value } = points[i];
      if (!Number.isFinite(value)) notFinite = notFinite < 0 ? i : notFinite;
      else {
        if (least < 0 || value < points[least].value) least = i;
        if (most < 0 || value > points[most].value) most = i;
      }
    }
    for (const i of [least, most, notFinite]) if (i >= 0) chosen.add(i);
    for (const i of [...chosen].toSorted((a, b) => a - b)) kept.push(points[i]);
    begin = end;
  }
  return kept;
}

/** Lines are read for at most this long before other work in the queue runs (ms). */
const READ_SLICE_MS = 8;
/** Minimum time between two drawings of a chart (ms). */
const REDRAW_MS = 500;

interface ChartState {
  curves: Curves;
  /** Whether unread lines were left after the last `read`. */
  behind: boolean;
  /** State of the server's answer for the lines that are not loaded. */
  remote: "no" | "reading" | "done" | "failed";
  stop: () => void;
  linesRead: number;
  lines: number;
  leftOut: number;
  message: string;
  /** Number of absences (see spans.ts) when the server was last asked. */
  absences: number;
}

interface ChartHooks {
  linkOf(task: string): Link | undefined;
  /** Return whether a visible view shows the chart of this task. */
  isChartVisible(store: TaskStore): boolean;
  /** Run `work` after the work that is queued already. */
  enqueue(work: () => void): void;
  /** Called when the chart of a task has changed. */
  chartChanged(store: TaskStore): void;
}

export class Charts {
  readonly #charted = new Map<TaskStore, ChartState>();
  readonly #redrawTimers = new Map<TaskStore, ReturnType<typeof setTimeout>>();
  #reading = false;

  readonly #hooks: ChartHooks;

  constructor(hooks: ChartHooks) {
    this.#hooks = hooks;
  }

  /** Set the tasks whose charts are shown. */
  setStores(stores: Set<TaskStore>): void {
    for (const [store, charted] of this.#charted) {
      if (stores.has(store)) continue;
      charted.stop();
      clearTimeout(this.#redrawTimers.get(store));
      this.#redrawTimers.delete(store);
      this.#charted.delete(store);
    }
    for (const store of stores) if (!this.#charted.has(store)) this.#charted.set(store, { curves: new Curves(store), behind: true, remote: "no", stop: () => {}, linesRead: 0, lines: 0, leftOut: 0, message: "", absences: 0 });
    this.read();
  }

  /** Read new lines for `READ_SLICE_MS`, and continue later if some are left. */
  read(): void {
    if (this.#reading) return;
    let more = false;
    for (const [store, charted] of this.#charted) {
      if (!this.#hooks.isChartVisible(store)) continue;
      this.#readRemote(store, charted);
      const result = charted.curves.read(READ_SLICE_MS);
      const { isBehind } = charted.curves;
      if (result || isBehind !== charted.behind) this.#changed(store);
      charted.behind = isBehind;
      more ||= isBehind;
    }
    if (!more) return;
    this.#reading = true;
    this.#hooks.enqueue(() => {
      this.#reading = false;
      this.read();
    });
  }

  renumber(store: TaskStore, rows: Int32Array): void {
    this.#charted.get(store)?.curves.renumber(rows);
  }

  chartOf(stores: TaskStore[]): Chart {
    const all = stores.map((store) => this.#charted.get(store)).filter((one) => one !== undefined);
    const sum = (pick: (one: ChartState) => number): number => all.reduce((total, one) => total + pick(one), 0);
    const failed = all.find(({ remote }) => remote === "failed");
    return {
      curves: all.flatMap(({ curves }) => curves.build(1 / all.length)),
      coverage: failed ? "loaded" : all.some(({ remote, curves }) => remote === "reading" || curves.isBehind) ? "reading" : "all",
      linesRead: sum(({ linesRead }) => linesRead),
      lines: sum(({ lines }) => lines),
      message: failed?.message ?? "",
      leftOut: sum(({ curves, leftOut }) => Math.max(leftOut, curves.omittedMetrics)),
    };
  }

  close(): void {
    this.setStores(new Set());
  }

  /** Ask the server for the metrics of lines that are not loaded: once, and again whenever the page has missed lines in an absence. */
  #readRemote(store: TaskStore, charted: ChartState): void {
    const absences = store.spans.filter(({ onDemand }) => onDemand).length;
    const lacks = charted.remote === "no" && (store.older || store.spans.length > 0);
    const link = this.#hooks.linkOf(store.task);
    if (link === undefined || charted.remote === "reading" || !(lacks || absences > charted.absences)) {
      charted.absences = Math.min(charted.absences, absences);
      return;
    }
    charted.absences = absences;
    charted.remote = "reading";
    this.#changed(store);
    charted.stop = link.metrics(store.task, {
      event: (event) => this.#event(store, charted, event),
      end: (problem) => this.#end(store, charted, problem?.message ?? "The reading was cut off"),
    });
  }

  #event(store: TaskStore, charted: ChartState, { event, data }: SseEvent): void {
    const doc = JSON.parse(data) as { series?: SeriesDoc[]; message?: string; looked?: number; lines?: number; left_out?: number };
    if (event === "points") for (const series of doc.series ?? []) charted.curves.addSeries(series);
    else if (event === "error") this.#end(store, charted, doc.message ?? "");
    else if (event === "progress" || event === "done") {
      [charted.linesRead, charted.lines, charted.leftOut] = [doc.looked ?? 0, doc.lines ?? 0, doc.left_out ?? 0];
      if (event === "done") charted.remote = "done";
    }
    this.#changed(store);
  }

  /** Handle an answer that ended early: the chart shows the loaded lines, and the reason. */
  #end(store: TaskStore, charted: ChartState, message: string): void {
    if (charted.remote !== "reading") return;
    charted.remote = "failed";
    charted.message = message;
    this.#changed(store);
  }

  #changed(store: TaskStore): void {
    if (this.#redrawTimers.has(store)) return;
    this.#redrawTimers.set(store, setTimeout(() => {
      this.#redrawTimers.delete(store);
      this.#hooks.chartChanged(store);
    }, REDRAW_MS));
  }
}

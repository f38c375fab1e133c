/**
 * The charts that are looked at: lines that are here are read in slices as they come, the rest of a recording by the
 * server, once. Where nobody looks nothing is read.
 */

import type { Link } from "../../transport/link.ts";
import type { SseEvent } from "../../transport/splitter.ts";
import type { Chart } from "../../types/chart.ts";
import { Curves, type SeriesDoc } from "./curves.ts";
import type { TaskStore } from "../holding/store.ts";

/** Of the worker's time at once, ms: an update must not wait for it. */
const READ_SLICE_MS = 8;
/** A chart is drawn anew at most so often, ms. */
const REDRAW_MS = 500;

interface ChartState {
  curves: Curves;
  /** There were lines left to read when it was read last. */
  behind: boolean;
  /** What the server has been asked for: all that it had when it was. */
  remote: "no" | "reading" | "done" | "failed";
  stop: () => void;
  linesRead: number;
  lines: number;
  leftOut: number;
  message: string;
  /** Absences that it was asked after. */
  absences: number;
}

interface ChartHooks {
  linkOf(task: string): Link | undefined;
  /** Somebody sees the chart of these lines now. */
  seen(store: TaskStore): boolean;
  /** After whatever waits already. */
  soon(work: () => void): void;
  /** The chart of a task is another. */
  changed(store: TaskStore): void;
}

export class Charts {
  readonly #charted = new Map<TaskStore, ChartState>();
  readonly #redrawTimers = new Map<TaskStore, ReturnType<typeof setTimeout>>();
  #reading = false;

  constructor(private readonly hooks: ChartHooks) {}

  /** The stores of which a chart is shown, all of them. */
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

  /** There may be lines to be read. */
  read(): void {
    if (this.#reading) return;
    let more = false;
    for (const [store, charted] of this.#charted) {
      if (!this.hooks.seen(store)) continue;
      this.#readRemote(store, charted);
      const found = charted.curves.read(READ_SLICE_MS);
      const { isBehind } = charted.curves;
      if (found || isBehind !== charted.behind) this.#changed(store);
      charted.behind = isBehind;
      more ||= isBehind;
    }
    if (!more) return;
    this.#reading = true;
    this.hooks.soon(() => {
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

  /** What is not here is read by the server: once, and again after an absence. */
  #readRemote(store: TaskStore, charted: ChartState): void {
    const holes = store.spans.filter(({ onDemand }) => onDemand).length;
    const lacks = charted.remote === "no" && (store.older || store.spans.length > 0);
    const link = this.hooks.linkOf(store.task);
    if (link === undefined || charted.remote === "reading" || !(lacks || holes > charted.absences)) {
      charted.absences = Math.min(charted.absences, holes);
      return;
    }
    charted.absences = holes;
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

  /** Before it is done: a chart of what is loaded, which says so. */
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
      this.hooks.changed(store);
    }, REDRAW_MS));
  }
}

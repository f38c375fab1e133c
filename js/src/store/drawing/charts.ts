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
const SLICE = 8;
/** A chart is drawn anew at most so often, ms. */
const EVERY = 500;

interface Charted {
  curves: Curves;
  /** There were lines left to read when it was read last. */
  behind: boolean;
  /** What the server has been asked for: all that it had when it was. */
  asked: "no" | "reading" | "done" | "failed";
  stop: () => void;
  looked: number;
  lines: number;
  leftOut: number;
  message: string;
  /** Absences that it was asked after. */
  holes: number;
}

interface Hooks {
  linkOf(task: string): Link | undefined;
  /** Somebody sees the chart of these lines now. */
  seen(store: TaskStore): boolean;
  /** After whatever waits already. */
  soon(work: () => void): void;
  /** The chart of a task is another. */
  changed(store: TaskStore): void;
}

export class Charts {
  readonly #charted = new Map<TaskStore, Charted>();
  readonly #news = new Map<TaskStore, ReturnType<typeof setTimeout>>();
  #reading = false;

  constructor(private readonly hooks: Hooks) {}

  /** The stores of which a chart is shown, all of them. */
  show(stores: Set<TaskStore>): void {
    for (const [store, charted] of this.#charted) {
      if (stores.has(store)) continue;
      charted.stop();
      clearTimeout(this.#news.get(store));
      this.#news.delete(store);
      this.#charted.delete(store);
    }
    for (const store of stores) if (!this.#charted.has(store)) this.#charted.set(store, { curves: new Curves(store), behind: true, asked: "no", stop: () => {}, looked: 0, lines: 0, leftOut: 0, message: "", holes: 0 });
    this.read();
  }

  /** There may be lines to be read. */
  read(): void {
    if (this.#reading) return;
    let more = false;
    for (const [store, charted] of this.#charted) {
      if (!this.hooks.seen(store)) continue;
      this.#ask(store, charted);
      const found = charted.curves.read(SLICE);
      const { behind } = charted.curves;
      if (found || behind !== charted.behind) this.#changed(store);
      charted.behind = behind;
      more ||= behind;
    }
    if (!more) return;
    this.#reading = true;
    this.hooks.soon(() => {
      this.#reading = false;
      this.read();
    });
  }

  moved(store: TaskStore, rows: Int32Array): void {
    this.#charted.get(store)?.curves.moved(rows);
  }

  of(stores: TaskStore[]): Chart {
    const all = stores.map((store) => this.#charted.get(store)).filter((one) => one !== undefined);
    const sum = (pick: (one: Charted) => number): number => all.reduce((total, one) => total + pick(one), 0);
    const failed = all.find(({ asked }) => asked === "failed");
    return {
      curves: all.flatMap(({ curves }) => curves.curves(1 / all.length)),
      of: failed ? "loaded" : all.some(({ asked, curves }) => asked === "reading" || curves.behind) ? "reading" : "all",
      looked: sum(({ looked }) => looked),
      lines: sum(({ lines }) => lines),
      message: failed?.message ?? "",
      leftOut: sum(({ curves, leftOut }) => Math.max(leftOut, curves.leftOut)),
    };
  }

  close(): void {
    this.show(new Set());
  }

  /** What is not here is read by the server: once, and again after an absence. */
  #ask(store: TaskStore, charted: Charted): void {
    const holes = store.spans.filter(({ onDemand }) => onDemand).length;
    const lacks = charted.asked === "no" && (store.older || store.spans.length > 0);
    const link = this.hooks.linkOf(store.task);
    if (link === undefined || charted.asked === "reading" || !(lacks || holes > charted.holes)) {
      charted.holes = Math.min(charted.holes, holes);
      return;
    }
    charted.holes = holes;
    charted.asked = "reading";
    this.#changed(store);
    charted.stop = link.metrics(store.task, {
      event: (event) => this.#event(store, charted, event),
      end: (problem) => this.#end(store, charted, problem?.message ?? "The reading was cut off"),
    });
  }

  #event(store: TaskStore, charted: Charted, { event, data }: SseEvent): void {
    const doc = JSON.parse(data) as { series?: SeriesDoc[]; message?: string; looked?: number; lines?: number; left_out?: number };
    if (event === "points") for (const series of doc.series ?? []) charted.curves.take(series);
    else if (event === "error") this.#end(store, charted, doc.message ?? "");
    else if (event === "progress" || event === "done") {
      [charted.looked, charted.lines, charted.leftOut] = [doc.looked ?? 0, doc.lines ?? 0, doc.left_out ?? 0];
      if (event === "done") charted.asked = "done";
    }
    this.#changed(store);
  }

  /** Before it is done: a chart of what is loaded, which says so. */
  #end(store: TaskStore, charted: Charted, message: string): void {
    if (charted.asked !== "reading") return;
    charted.asked = "failed";
    charted.message = message;
    this.#changed(store);
  }

  #changed(store: TaskStore): void {
    if (this.#news.has(store)) return;
    this.#news.set(store, setTimeout(() => {
      this.#news.delete(store);
      this.hooks.changed(store);
    }, EVERY));
  }
}

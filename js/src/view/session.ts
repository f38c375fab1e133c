/** One model: its tasks and settings, its comm, and what is written back to Python (seldom, and never a line). */

import type { Hub } from "../store/client.ts";
import { sinceOf } from "../store/time.ts";
import type { SourceSummary, TaskSummary, Transport } from "../types.ts";
import { asView, DEFAULT_SINCE, fromQuery, type Query, type Settings } from "./settings.ts";
import type { Viewer } from "./viewer.ts";

const STATUS_EVERY = 1000;
const VIEW_EVERY = 1000;
const OVER = new Set(["succeeded", "failed", "gone"]);

/** As much of anywidget's model as is used here. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(message: unknown): void;
  on(name: string, callback: (...args: never[]) => void): void;
  off(name: string, callback: (...args: never[]) => void): void;
}

export class Session {
  settings: Settings;
  readonly model: string;
  readonly views = new Set<Viewer>();
  #written: Record<string, string> = {};
  #due: Record<string, ReturnType<typeof setTimeout> | undefined> = {};
  #next: Record<string, unknown> = {};
  #closed = false;
  #opened = false;
  #off: (() => void)[] = [];

  constructor(
    readonly widget: Model,
    private readonly hub: Hub,
  ) {
    this.settings = fromQuery(this.#query);
    this.model = hub.open({
      tasks: this.tasks,
      transport: (widget.get("transport") as Transport | undefined) ?? "auto",
      since: this.#query.since || DEFAULT_SINCE,
      send: (message) => widget.send(message),
      summary: (tasks) => this.#summary(tasks),
    });
    this.#on("msg:custom", (message: Record<string, unknown>, buffers?: DataView[]) => {
      // Another tab's page asked for the viewer.
      if (message.type === "viewer") return;
      const [buffer] = buffers ?? [];
      // A copy: the bytes go to the worker, and the host may still hold the frame they came in.
      const bytes = buffer && new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength).slice();
      hub.comm(this.model, message, bytes);
    });
    this.#on("change:query", () => this.#apply(fromQuery(this.#query)));
    this.#on("change:height", () => this.#apply(this.settings));
    this.#on("change:tasks", () => this.#retask());
  }

  get tasks(): string[] {
    return (this.widget.get("tasks") as string[] | undefined) ?? [];
  }

  get height(): number {
    return Number(this.widget.get("height")) || 420;
  }

  get #query(): Query {
    return (this.widget.get("query") as Query | undefined) ?? {};
  }

  #on(name: string, callback: (...args: never[]) => void): void {
    this.widget.on(name, callback);
    this.#off.push(() => this.widget.off(name, callback));
  }

  change(change: Partial<Settings["filter"]> & { time?: boolean; wrap?: boolean }): void {
    const { time = this.settings.time, wrap = this.settings.wrap, ...filter } = change;
    const same = Object.keys(filter).length === 0;
    this.#apply({ time, wrap, filter: same ? this.settings.filter : { ...this.settings.filter, ...filter } });
  }

  /** A field comes into the rows, behind those that were chosen, or goes out of them. */
  chooseField(field: string): void {
    const { fields } = this.settings.filter;
    this.change({ fields: fields.includes(field) ? fields.filter((one) => one !== field) : [...fields, field] });
  }

  /** What a value in a record becomes with one click. */
  addFilter({ field, value }: { field: string; op: string; value: string }): void {
    this.change({ grep: `${field} ${value}` });
  }

  /** The reader's regex took too long: without it the lines come back. */
  regexStopped(): void {
    const { grep } = this.settings.filter;
    this.change({ grep: "", regex: false });
    for (const view of this.views) view.complain(`The regular expression ${grep} took too long on one line and was taken out`);
  }

  #apply(settings: Settings): void {
    this.settings = settings;
    for (const view of this.views) view.settings();
  }

  #retask(): void {
    this.hub.resubscribe(this.model, this.tasks);
    this.#apply(this.settings);
  }

  /** Of a task that is over when it is opened everything is shown (a page bounds it), unless a window was asked for. */
  opened(tasks: TaskSummary[]): void {
    if (this.#opened || tasks.some(({ state }) => state === "")) return;
    this.#opened = true;
    if (!this.#query.since && tasks.every(({ state }) => OVER.has(state))) this.change({ since: null });
  }

  #summary(tasks: TaskSummary[]): void {
    const [{ task = "", state = "", message = "" } = {}] = tasks;
    const sum = (pick: (one: TaskSummary) => number): number => tasks.reduce((total, one) => total + pick(one), 0);
    this.#write("status", { task, state, message, lines: sum(({ lines }) => lines), gaps: sum(({ gaps }) => gaps) }, STATUS_EVERY);
  }

  sees(sources: SourceSummary[], first: number | null, last: number | null): void {
    this.#write("view", asView(this.settings, sinceOf(this.settings.filter.since), sources, first, last), VIEW_EVERY);
  }

  /** At most once in `every` ms, only when changed, and always the newest value in the end. */
  #write(name: string, value: unknown, every: number): void {
    this.#next[name] = value;
    if (this.#due[name] !== undefined || this.#closed || this.#written[name] === JSON.stringify(value)) return;
    this.#due[name] = setTimeout(() => {
      this.#due[name] = undefined;
      const text = JSON.stringify(this.#next[name]);
      if (this.#closed || text === this.#written[name]) return;
      this.#written[name] = text;
      this.widget.set(name, this.#next[name]);
      this.widget.save_changes();
    }, every);
  }

  close(): void {
    this.#closed = true;
    for (const timer of Object.values(this.#due)) clearTimeout(timer);
    for (const off of this.#off) off();
    for (const view of this.views) view.close();
    this.hub.closeSession(this.model);
  }
}

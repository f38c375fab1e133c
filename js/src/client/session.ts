/** One widget model: its tasks, settings and comm, and the traits that it writes back to Python (at most once a second, and never a line). */

import type { Transport } from "../protocol/messages.ts";
import type { Jump } from "../protocol/requests.ts";
import type { ContainerSummary, TaskSummary } from "../protocol/update.ts";
import { quoteValue } from "../text/conditions.ts";
import { isRegex } from "../text/query.ts";
import { fromIso, toIso } from "../text/time.ts";
import type { CommDownloads } from "./commdownload.ts";
import { type Address, type Change, DEFAULT_SINCE, fromPlain, type PlainSettings, type Settings, toViewTrait } from "./settings.ts";
import type { StoreClient } from "./storeclient.ts";

const STATUS_EVERY_MS = 1000;
const VIEW_EVERY_MS = 1000;
const FINISHED = new Set(["succeeded", "failed", "gone"]);
/** Display settings that are traits of the same names. Python or the viewer sets them, and they are saved with the notebook. */
const DISPLAY_TRAITS = ["time", "wrap", "trim", "columns", "newest_first", "font_size", "source_width", "fields", "fold", "around", "split", "chart", "chart_log", "chart_smooth", "panel"] as const;

/** Where JupyterLab's extension puts the user's defaults (hosts/lab.ts), by the names of the query's parameters and of the traits. */
export const USER_DEFAULTS = Symbol.for("cortex-jupyter/defaults");

/** Where JupyterLab's extension puts a function that shows a `Notice`. */
export const NOTIFIER = Symbol.for("cortex-jupyter/notifier");

/** A notification that a user asked for (ui/bell.ts). */
export interface Notice {
  message: string;
  type: "success" | "error" | "info";
  /** The viewer. */
  element: HTMLElement;
  /** Show in the viewer what the notification is about. */
  show(): void;
}

/** Return the key under which a page's session storage has the notifications that a user asked for. */
export function bellKey(tasks: string[]): string {
  return `cortex-jupyter/bell ${tasks.join(" ")}`;
}

/** A note on a line. */
export interface Bookmark {
  task: string;
  seq: number;
  /** RFC 3339. One that Python set may have none. */
  time?: string;
  note: string;
}

/** The part of anywidget's model that the viewer uses. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(message: unknown): void;
  on(name: string, callback: (...args: never[]) => void): void;
  off(name: string, callback: (...args: never[]) => void): void;
}

export type MakeDownloads = (send: (message: Record<string, unknown>) => void) => CommDownloads;

/** The methods of a view that the session calls. */
export interface SessionView {
  readonly root: HTMLElement;
  /** Go to a place; undefined for the newest line. */
  goTo(to?: Jump): void;
  settings(): void;
  follow(follow: boolean): void;
  stopFinding(): void;
  showError(message: string): void;
  close(): void;
}

export class Session {
  settings: Settings;
  readonly model: string;
  readonly views = new Set<SessionView>();
  /** Receivers of the kernel's messages, besides the store. Each returns whether a message was meant for it. */
  readonly receivers = new Set<(message: Record<string, unknown>, bytes?: Uint8Array) => boolean>();
  /** Downloads through the kernel. */
  readonly downloads: CommDownloads | undefined;
  /** The cluster and store that the tasks belong to; "" for the server's own. */
  readonly origin: string;
  /** Time of the row that was read before the page was reloaded; null for none. */
  readonly readerTime: number | null;
  /** Number of the line that the page's address points to. */
  readonly linkedSeq: number | undefined;
  /** The notifications that the user asked for. Their code is loaded on demand. */
  bell: { summary(tasks: TaskSummary[]): void; close(): void } | undefined;
  lastSummary: TaskSummary[] = [];
  #written: Record<string, string> = {};
  #due: Record<string, ReturnType<typeof setTimeout> | undefined> = {};
  #reportAgain = (): void => {};
  #next: Record<string, unknown> = {};
  #restored = false;
  #closed = false;
  #opened = false;
  #off: (() => void)[] = [];

  /** Window of a running task where the query has none. */
  readonly #since: string = DEFAULT_SINCE;
  readonly #store: StoreClient;

  constructor(
    readonly widget: Model,
    store: StoreClient,
    makeDownloads?: MakeDownloads,
  ) {
    this.#store = store;
    this.downloads = makeDownloads?.((message) => widget.send(message));
    this.origin = (widget.get("origin") as string | undefined) ?? "";
    const saved = widget.get("view") as Address | undefined;
    // A reloaded page shows what it showed before.
    this.#restored = Boolean(saved?.since);
    if (!this.#restored) this.#since = this.#applyDefaults() ?? DEFAULT_SINCE;
    this.settings = this.#restored ? fromPlain({ ...saved, ...this.#displayTraits }) : this.#querySettings();
    const { at, line } = saved ?? (this.#query as Address);
    const time = at ? fromIso(at) : Number.NaN;
    this.readerTime = Number.isNaN(time) || this.follow ? null : time;
    this.linkedSeq = line;
    this.model = store.open({
      tasks: this.tasks,
      transport: this.transport,
      since: this.#query.since || this.#since,
      origin: this.origin,
      send: (message) => widget.send(message),
      summary: (tasks) => this.#summary(tasks),
    });
    this.#on("msg:custom", (message: Record<string, unknown>, buffers?: DataView[]) => {
      // Another tab's page asked for the viewer's code.
      if (message.type === "viewer") return;
      const [buffer] = buffers ?? [];
      // Copy the bytes: they are transferred to the worker, and the host may still hold the frame they came in.
      const bytes = buffer && new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength).slice();
      if (!this.downloads?.receive(message, bytes) && ![...this.receivers].some((receive) => receive(message, bytes))) store.comm(this.model, message, bytes);
    });
    this.#on("change:query", () => this.#apply(this.#querySettings()));
    for (const name of DISPLAY_TRAITS) this.#on(`change:${name}`, () => this.#displayChanged(name));
    for (const name of ["height", "bookmarks"]) this.#on(`change:${name}`, () => this.#apply(this.settings));
    this.#on("change:follow", () => {
      for (const view of this.views) view.follow(this.follow);
    });
    this.#on("change:tasks", () => this.#tasksChanged());
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get tasks(): string[] {
    return (this.widget.get("tasks") as string[] | undefined) ?? [];
  }

  get transport(): Transport {
    return (this.widget.get("transport") as Transport | undefined) ?? "auto";
  }

  get height(): number {
    return Number(this.widget.get("height")) || 420;
  }

  get follow(): boolean {
    return this.widget.get("follow") !== false;
  }

  get bookmarks(): Bookmark[] {
    return (this.widget.get("bookmarks") as Bookmark[] | undefined) ?? [];
  }

  get #query(): PlainSettings {
    return (this.widget.get("query") as PlainSettings | undefined) ?? {};
  }

  get #displayTraits(): PlainSettings {
    return Object.fromEntries(DISPLAY_TRAITS.map((name) => [name, this.widget.get(name)]).filter(([, value]) => value !== undefined)) as PlainSettings;
  }

  #querySettings(): Settings {
    const { run, attempt } = this.#query;
    // A chosen run or attempt is shown as a whole.
    return fromPlain({ ...(run || attempt ? {} : { since: this.#since }), ...this.#query, ...this.#displayTraits });
  }

  /** Set the user's defaults for what the cell does not name, and return their window. */
  #applyDefaults(): string | undefined {
    const { since, ...defaults } = ((globalThis as Record<symbol, unknown>)[USER_DEFAULTS] ?? {}) as PlainSettings;
    const stated = (this.widget.get("_stated") as string[] | undefined) ?? [];
    for (const name of DISPLAY_TRAITS) if (name in defaults && !stated.includes(name)) this.setTrait(name, (defaults as Record<string, unknown>)[name]);
    return since;
  }

  #displayChanged(name: string): void {
    const looks = fromPlain(this.#displayTraits);
    const { fields, equalLines, around, split } = looks.filter;
    // The worker needs only the filter, so tell it only about changes of the filter.
    this.#apply({ ...looks, filter: ["fields", "fold", "around", "split"].includes(name) ? { ...this.settings.filter, fields, equalLines, around, split } : this.settings.filter });
  }

  /** Set a trait from this page and save it. */
  setTrait(name: "height" | "follow" | "bookmarks" | (typeof DISPLAY_TRAITS)[number], value: unknown): void {
    if (JSON.stringify(this.widget.get(name)) === JSON.stringify(value)) return;
    this.widget.set(name, value);
    this.widget.save_changes();
  }

  #on(name: string, callback: (...args: never[]) => void): void {
    this.widget.on(name, callback);
    this.#off.push(() => this.widget.off(name, callback));
  }

  change(change: Change): void {
    const { filter: before, ...looks } = this.settings;
    const given = Object.entries(change);
    const isLook = ([name]: [string, unknown]): boolean => name in looks;
    const filter = given.filter((one) => !isLook(one));
    this.#apply({ ...looks, ...Object.fromEntries(given.filter(isLook)), filter: filter.length === 0 ? before : { ...before, ...Object.fromEntries(filter) } });
    const { time, wrap, trim, columns, newestFirst, fontSize, sourceWidth, chart, chartLog, chartSmooth, panel } = this.settings;
    const { fields, equalLines, around, split } = this.settings.filter;
    const traits = { time, wrap, trim, columns, newest_first: newestFirst, font_size: fontSize, source_width: sourceWidth, fields, fold: equalLines, around, split, chart, chart_log: chartLog, chart_smooth: chartSmooth, panel };
    for (const name of DISPLAY_TRAITS) this.setTrait(name, traits[name]);
  }

  /** Show a field in the rows, or no longer show it. */
  chooseField(field: string): void {
    const { fields } = this.settings.filter;
    this.change({ fields: fields.includes(field) ? fields.filter((one) => one !== field) : [...fields, field] });
  }

  /** Add a condition on a field's value to the filter. */
  addFilter({ field, op, value }: { field: string; op: string; value: string }): void {
    const { where } = this.settings.filter;
    const condition = `${field}${op}${quoteValue(value)}`;
    if (!where.includes(condition)) this.change({ where: [...where, condition] });
  }

  /** Remove the regular expression that took too long from the filter, or end find, so that lines are shown again. */
  regexStopped(find: boolean): void {
    const { grep, regex, include, exclude } = this.settings.filter;
    const typed = regex || isRegex(grep);
    const [suspect] = find ? [] : typed ? [grep] : [...include, ...exclude].filter(isRegex);
    if (suspect !== undefined) this.change(typed ? { grep: "", regex: false } : { include: include.filter((term) => term !== suspect), exclude: exclude.filter((term) => term !== suspect) });
    for (const view of this.views) {
      if (suspect === undefined) view.stopFinding();
      view.showError(`The regular expression ${suspect ?? "that was sought"} took too long on one line and was taken out`);
    }
  }

  #apply(settings: Settings): void {
    this.settings = settings;
    for (const view of this.views) view.settings();
    // Some settings do not cause rows to be drawn again.
    this.#reportAgain();
  }

  #tasksChanged(): void {
    this.#store.resubscribe(this.model, this.tasks);
    this.#apply(this.settings);
  }

  /**
   * When the states of all tasks are known for the first time: show the whole log if the tasks have ended, unless the query or
   * the view before a reload has a window. Only the visible pages are loaded.
   */
  onSummary(tasks: TaskSummary[]): void {
    if (this.#opened || tasks.some(({ state }) => state === "")) return;
    this.#opened = true;
    if (!this.#query.since && !this.#restored && tasks.every(({ state }) => FINISHED.has(state))) this.change({ since: null });
  }

  #summary(tasks: TaskSummary[]): void {
    this.lastSummary = tasks;
    this.bell?.summary(tasks);
    const [{ task = "", state = "", message = "" } = {}] = tasks;
    const sum = (pick: (one: TaskSummary) => number): number => tasks.reduce((total, one) => total + pick(one), 0);
    this.#write("status", { task, state, message, lines: sum(({ lines }) => lines), gaps: sum(({ gaps }) => gaps) }, STATUS_EVERY_MS);
  }

  /** Report which rows are visible, and the time of the first one while the view is paused. */
  reportVisible(sources: ContainerSummary[], first: number | null, last: number | null, at: number | undefined): void {
    const place = at === undefined ? {} : { at: toIso(at) };
    this.#reportAgain = () => this.reportVisible(sources, first, last, at);
    this.#write("view", { ...toViewTrait(this.settings, sources, first, last), ...place }, VIEW_EVERY_MS);
  }

  /** Write a trait if it has changed, at most once in `every` ms. The last value is always written. */
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
    this.bell?.close();
    for (const timer of Object.values(this.#due)) clearTimeout(timer);
    for (const off of this.#off) off();
    for (const view of this.views) view.close();
    this.downloads?.close();
    this.#store.closeSession(this.model);
  }
}

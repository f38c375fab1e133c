/** What one view on the page sees now: a slice of its selection, held in place, with counts. At most one update is under way. */

import type { Filter, Jump, Look } from "../../types/asked.ts";
import type { Update } from "../../types/messages.ts";
import type { Row } from "../../types/rows.ts";
import type { RemoteSearch, SourceSummary } from "../../types/summary.ts";
import type { Beyond, Goal } from "../asking/beyond.ts";
import { histogram } from "./histogram.ts";
import { destination } from "../asking/jump.ts";
import { type Block, Layout } from "./layout.ts";
import { Order } from "./order.ts";
import type { Wish } from "../holding/pages.ts";
import { present } from "./present.ts";
import { type RemoteQuery, remoteQuery } from "../asking/remote.ts";
import type { Search } from "../asking/search.ts";
import { Selection } from "./selection.ts";
import { rowsAfter, rowsOf } from "../holding/spans.ts";
import { NO_SOURCE } from "../holding/flags.ts";
import type { TaskStore } from "../holding/store.ts";

const EDGE_ID = -1;
/** And below: rows that are not here, by their place. */
const BLANK_ID = -10;
const SOURCES_EVERY = 250;
const HISTOGRAM_EVERY = 500;
/** The time axis is drawn anew when nothing but the time has moved it by this share of its length (some pixels), and so much, ms. */
const AXIS_STEP = 1 / 64;
const LEAST_STEP = 2000;
/** A window that goes with the time moves in so many steps. */
const WINDOW_STEPS = 60;
const SHORT = 2000;
const RATE_OVER = 5000;
const SETTLE = 500;
/** So long after the first line the place is given up. */
const SEEK = 5000;
/** Rows sent above the place that is sought. */
const MARGIN = 24;

/** Neighbours in number are far apart in colour, for pods that are numbered. */
function hue(slot: number): number {
  return (slot * 150 + 255) % 360;
}

/** Twelve hues of equal distance; a pod keeps the one its name hashes to unless another pod has it. */
function hueOf(pod: string, taken: Map<string, number>): number {
  const known = taken.get(pod);
  if (known !== undefined) return known;
  let hash = 2166136261;
  for (let i = 0; i < pod.length; i++) hash = Math.imul(hash ^ pod.charCodeAt(i), 16777619);
  let slot = (hash >>> 0) % 12;
  const used = new Set(taken.values());
  while (used.size < 12 && used.has(hue(slot))) slot = (slot + 1) % 12;
  taken.set(pod, hue(slot));
  return hue(slot);
}

/** How far it is, with its time as `{ms}`. */
function searchText({ state, to, message }: RemoteSearch): string {
  if (state === "failed") return message;
  if (state === "done") return "Searched to here: there are no more matches before";
  return to === Infinity ? "Searching what is not loaded…" : `${state === "running" ? "Searching, back" : "Searched back"} to {${Math.floor(to)}}`;
}

/** What of a source follows from its runs. */
function summarize(group: SourceSummary): void {
  const { runs } = group;
  runs.sort((a, b) => a.run - b.run);
  const newest = runs.at(-1);
  for (const one of runs) if (one !== newest) one.state = "ended";
  group.on = runs.some(({ on }) => on);
  group.lines = runs.reduce((sum, { lines }) => sum + lines, 0);
  group.last = Math.max(0, ...runs.map(({ last }) => last));
  if (newest) [group.state, group.exit] = [newest.state, newest.exit];
}

export interface Surroundings {
  now: number;
  live: boolean;
  loading: boolean;
  rest: Pick<Update, "link" | "transport" | "problem" | "tasks" | "ahead">;
}

export class View {
  waiting = false;
  dirty = true;
  /** Somebody can see it. */
  seen = true;
  /** The reader went beyond the window by scrolling up. */
  extended = false;
  low = -Infinity;
  /** The time at which the reader was when the lines were loaded anew, until there is something from then. */
  seek: number | null;
  /** The filter over what is not loaded. */
  search: Search | null = null;
  /** The next match or error, looked for in what is not loaded. */
  beyond: Beyond | null = null;
  /** A line that is gone to and not here. */
  goal: Goal | null = null;
  /** Its metrics are shown; and are others than were sent. */
  charted = false;
  chartDue = false;
  /** What is looked at and not here. */
  wish: (Wish & { store: TaskStore }) | null = null;
  generation = 0;
  /** When the first line was here. */
  #begun = 0;
  readonly selection: Selection;
  readonly #hues = new Map<string, number>();
  readonly #groups: SourceSummary[] = [];
  readonly #groupIds = new Map<string, number>();
  readonly #groupOf: number[][] = [];
  /** By a clock that is never set back. */
  #sourcesAt = -Infinity;
  #sourcesOf = -1;
  #histogramAt = -Infinity;
  #histogramOf = "";
  #axisStep = LEAST_STEP;
  #firstRows = 0;
  #tailLow = -Infinity;
  #sent = "";
  /** The row that was jumped to last, and whether that is still to be said. */
  #jumped: number | null = null;
  #landed = true;
  /** The time that was jumped to. */
  #aim: number | null = null;
  #order: Order | undefined;

  constructor(
    readonly id: string,
    readonly model: string,
    stores: TaskStore[],
    filter: Filter,
    public look: Look,
  ) {
    this.selection = new Selection(stores, filter);
    this.seek = look.follow ? null : (look.seek ?? null);
  }

  /** The same view of rows that have other numbers. */
  renew(stores: TaskStore[], look: Look): View {
    const anew = new View(this.id, this.model, stores, this.selection.filter, look);
    anew.waiting = this.waiting;
    anew.seen = this.seen;
    anew.extended = this.extended;
    anew.low = this.low;
    anew.search = this.search;
    anew.beyond = this.beyond;
    anew.charted = anew.chartDue = this.charted;
    anew.generation = this.generation + 1;
    return anew;
  }

  refilter(filter: Filter): void {
    const { since, from, until } = this.selection.filter;
    if (filter.since !== since || filter.from !== from || filter.until !== until) {
      this.extended = false;
      this.low = -Infinity;
    }
    this.#sourcesAt = -Infinity;
    this.selection.refilter(filter);
  }

  /** Where the window begins. It stands still while somebody reads. */
  lowBound(now: number, live: boolean): number {
    const { since, from, tail } = this.selection.filter;
    if (this.extended) return -Infinity;
    if (from !== null) this.low = from;
    else if (since === null) this.low = -Infinity;
    else if (this.look.follow || this.low === -Infinity) {
      const step = since / WINDOW_STEPS;
      this.low = (live ? Math.floor(now / step) * step : this.#newest()) - since;
    }
    return tail === null ? this.low : Math.max(this.low, this.#tailBound(tail));
  }

  /** The next is the one below: newest first, the one before. */
  inTime<To extends Jump>(to: To): To {
    return "by" in to && this.look.newestFirst ? { ...to, by: to.by === 1 ? -1 : 1 } : to;
  }

  /** Its filter, as one of its tasks can be asked for it. */
  remoteQuery(store: TaskStore): RemoteQuery | null {
    return remoteQuery(this.selection.filter, this.sources().filter(({ task }) => task === store.task));
  }

  /** What is shown of everything since then is here, although it is not loaded, ms. */
  get searchedTo(): number {
    if (this.search === null) return Infinity;
    return this.search.state === "done" ? -Infinity : this.search.to;
  }

  /** Goes to a row; whether there is one. What is out of the window is shown with all that is older. */
  jump(to: Jump): boolean {
    const { selection } = this;
    if (to.to === "seq") selection.reveal(to.task, to.seq);
    const id = destination(this.inTime(to), selection, selection.finder, this.low);
    const time = to.to === "time" ? to.time : null;
    if (id === null && time === null) return false;
    if (to.to === "found" && id !== null) selection.revealFound(id);
    if ((time ?? selection.keyOf(id!)) < this.low) this.extended = true;
    this.#jumped = id;
    this.#aim = time;
    this.#landed = false;
    this.seek = null;
    this.look = { ...this.look, follow: false, anchor: id ?? EDGE_ID, anchorIndex: 0 };
    return true;
  }

  /** Where a time stands among what is not loaded; null where it is. */
  #blankAt(layout: Layout, time: number | null): number | null {
    let before = 0;
    for (const { at, rows, span, store, skip } of time === null ? [] : layout.blocks) {
      if (time! > span.low && time! < span.high) {
        const within = rows + skip - rowsAfter(span, time!, store.outline);
        return at + before + Math.max(0, Math.min(rows - 1, within - skip)) + 1;
      }
      before += rows;
    }
    return null;
  }

  /** Rows from one to another as they are shown, by time. */
  between(from: number, to: number): number[] {
    return this.#order?.between(from, to) ?? [];
  }

  /** The time of the row that the reader holds on to. */
  placeTime(): number | null {
    const { anchor } = this.look;
    return anchor === null || anchor < 0 ? null : this.selection.keyOf(anchor);
  }

  #tailBound(tail: number): number {
    const { all, keyOf } = { all: this.selection.all, keyOf: (id: number) => this.selection.keyOf(id) };
    if (all.length === 0) return -Infinity;
    this.#firstRows ||= Date.now();
    if (Date.now() - this.#firstRows < SETTLE) this.#tailLow = tail === 0 ? Infinity : keyOf(all.at(Math.max(0, all.length - tail)));
    return this.#tailLow;
  }

  #newest(): number {
    return Math.max(0, ...this.selection.stores.map((store) => store.last));
  }

  /** Whether a second that has passed changes more of what is shown than words that count up. */
  isStale({ now, live, rest }: Surroundings): boolean {
    const low = this.lowBound(now, live);
    const start = low === -Infinity ? 0 : this.selection.shown.lowerBound((id) => this.selection.keyOf(id) < low);
    return this.seek !== null || this.#sentOf(start, this.#rate(now, live), rest) !== this.#sent || this.#sourcesOf !== this.selection.all.length || this.#drawnOf(now, live, low) !== this.#histogramOf;
  }

  #sentOf(start: number, rate: number, { ahead }: Surroundings["rest"]): string {
    return `${start} ${this.selection.all.length} ${rate} ${Math.trunc(ahead / 2000)}`;
  }

  #rate(now: number, live: boolean): number {
    const { all } = this.selection;
    if (!live || this.selection.stores.every((store) => store.lines === 0)) return 0;
    const from = Math.min(now, Date.now() + 60_000) - RATE_OVER;
    return (all.length - all.lowerBound((id) => this.selection.keyOf(id) < from)) / (RATE_OVER / 1000);
  }

  update({ now, live, loading, rest }: Surroundings): Update {
    const { selection, look } = this;
    const { shown, all, stores } = selection;
    const low = this.lowBound(now, live);
    const start = low === -Infinity ? 0 : shown.lowerBound((id) => selection.keyOf(id) < low);
    const { until } = selection.filter;
    const end = until === null ? shown.length : Math.max(start, shown.lowerBound((id) => selection.keyOf(id) <= until));
    const count = end - start;
    const layout = this.#layout(start, count, low);
    const order = (this.#order = new Order(selection, layout, start, end, look.newestFirst ?? false));
    const { total } = order;
    let { from } = look;
    let shift = 0;
    const seek = this.seek;
    let seen: number | undefined;
    let jump: Update["jump"];
    if (look.follow) from = look.newestFirst ? 0 : total - look.count;
    else if (seek !== null) {
      const sought = Math.max(0, shown.lowerBound((id) => selection.keyOf(id) < seek) - start);
      const blank = this.#blankAt(layout, seek);
      seen = order.shownAt(blank ?? Math.min(total - 1, layout.toBar(sought) + 1));
      from = seen - MARGIN;
      // Nothing has come yet: a recorder may have to be started first.
      if (stores.some((store) => store.lines > 0)) this.#begun ||= Date.now();
      // A recorder that begins anew has the newest lines first: what stood before the reader's place is here, or known to be missing.
      const known = blank !== null || stores.some((store) => store.firstKey <= seek && store.newestLine >= seek);
      if (known || (this.#begun > 0 && Date.now() - this.#begun > SEEK)) {
        this.seek = null;
        this.look = { ...look, from: Math.max(0, from), anchor: blank !== null || sought >= count ? null : shown.at(sought + start), anchorIndex: seen };
      }
    }
    else if (look.anchor !== null) {
      const index = order.shownAt(look.anchor === EDGE_ID ? 0 : Math.min(total - 1, layout.toBar(Math.max(0, shown.placeOf(look.anchor) - start)) + 1));
      if (this.#landed) {
        shift = index - look.anchorIndex;
        from += shift;
      } else {
        const blank = this.#blankAt(layout, this.#aim);
        jump = blank === null ? { row: index, id: look.anchor } : { row: order.shownAt(blank), id: BLANK_ID - blank };
        from = jump.row - Math.floor(look.count / 2);
        this.look = { ...look, from, anchor: blank === null ? look.anchor : null, anchorIndex: index };
        this.#landed = true;
      }
    }
    from = Math.max(0, Math.min(from, total - 1));
    const rows: Row[] = [];
    this.wish = null;
    for (let at = from; at < Math.min(total, from + look.count); at++) {
      const bar = order.byTime(at);
      const place = bar === 0 ? null : layout.at(bar - 1);
      if (place === null) rows.push(this.#edge(loading, start));
      else if ("index" in place) rows.push(this.#row(shown.at(start + place.index)));
      else {
        rows.push(this.#blank(bar));
        this.#look(place.block, place.offset);
      }
    }
    const rate = this.#rate(now, live);
    this.#sent = this.#sentOf(start, rate, rest);
    const update: Update = {
      ...rest,
      op: "update",
      view: this.id,
      total,
      first: from,
      shift,
      follow: look.follow,
      newestFirst: look.newestFirst ?? false,
      rows,
      generation: this.generation,
      seek: seen,
      lines: stores.reduce((sum, store) => sum + store.recorded, 0),
      shown: count,
      filtered: selection.filtered,
      searching: selection.unsearched,
      remote: this.#remote(count),
      beyond: this.beyond?.said,
      find: this.#find(low),
      jump,
      rate,
      newest: this.#newest(),
      now,
      loading,
      filterError: selection.matcher.error,
    };
    const at = performance.now();
    if (at - this.#sourcesAt >= SOURCES_EVERY) {
      this.#sourcesAt = all.length === 0 ? -Infinity : at;
      this.#sourcesOf = all.length;
      update.sources = this.sources();
    }
    const drawn = this.#drawnOf(now, live, low);
    // A short log is drawn as it comes; of a long one the bars hardly change.
    if (at - this.#histogramAt >= (all.length < SHORT ? 0 : HISTOGRAM_EVERY) && drawn !== this.#histogramOf) {
      this.#histogramAt = all.length === 0 ? -Infinity : at;
      update.histogram = histogram(stores, { now, live, low, newest: this.#newest() });
      // A power of two: all viewers move at the same time, which is one frame.
      this.#axisStep = LEAST_STEP * 2 ** Math.max(0, Math.floor(Math.log2(((update.histogram.to - update.histogram.from) / LEAST_STEP) * AXIS_STEP)));
      this.#histogramOf = this.#drawnOf(now, live, low);
    }
    return update;
  }

  /** What is not loaded takes its place on the bar, where nothing is filtered. */
  #layout(start: number, count: number, low: number): Layout {
    const blocks: Block[] = [];
    const { selection } = this;
    for (const [slot, store] of selection.narrowed ? [] : selection.stores.entries()) {
      for (const span of store.spans) {
        const at = selection.shown.placeOf(selection.idOf(slot, span.row)) - start;
        const rows = rowsOf(span);
        if (at >= 0 && rows > 1) blocks.push({ at: at + 1, rows: rows - 1, store, span, skip: 1 });
        else if (at < 0 && span.high > low && selection.filter.tail === null) {
          // The window begins within it.
          const within = rowsAfter(span, low, store.outline);
          if (within > 0) blocks.push({ at: 0, rows: within, store, span, skip: rows - within });
        }
      }
    }
    return new Layout(count, blocks.toSorted((a, b) => a.at - b.at));
  }

  /** Rows that are looked at and not here. */
  #look({ store, span }: Block, offset: number): void {
    if (this.look.follow && span.onDemand) return;
    this.wish ??= { store, span, first: offset, last: offset };
    if (this.wish.span !== span) return;
    this.wish.first = Math.min(this.wish.first, offset);
    this.wish.last = Math.max(this.wish.last, offset);
  }

  #blank(bar: number): Row {
    return { id: BLANK_ID - bar, kind: "blank", seq: -1, time: 0, source: -1, level: 0, text: "", runs: [], marks: [], more: 0, json: false };
  }

  #find(low: number): Update["find"] {
    const { finder, keyOf } = { finder: this.selection.finder, keyOf: (id: number) => this.selection.keyOf(id) };
    if (!finder.active && finder.error === "") return undefined;
    const first = low === -Infinity ? 0 : finder.found.lowerBound((id) => keyOf(id) < low);
    const at = this.#jumped === null ? -1 : finder.found.placeOf(this.#jumped);
    const here = at >= first && at < finder.found.length && finder.found.at(at) === this.#jumped;
    const count = finder.found.length - first;
    return { count, at: !here ? -1 : this.look.newestFirst ? count - 1 - (at - first) : at - first, searching: finder.unsearched, error: finder.error };
  }

  /** What the histogram depends on: where the window goes with the time, it moves with the axis. */
  #drawnOf(now: number, live: boolean, low: number): string {
    const { since, from } = this.selection.filter;
    const window = live && this.look.follow && !this.extended && from === null ? since : low;
    return `${this.selection.stores.map(({ recorded, spans, outline }) => `${recorded} ${spans.length} ${outline?.errors?.length}`).join(" ")} ${this.selection.all.length} ${live ? Math.floor(now / this.#axisStep) : ""} ${window}`;
  }

  #remote(matches: number): RemoteSearch | undefined {
    const { search } = this;
    return search === null ? undefined : { state: search.state, to: search.to, matches, message: search.message };
  }

  #edge(loading: boolean, hidden: number): Row {
    const remote = this.#remote(0);
    if (remote !== undefined) return { id: EDGE_ID, kind: "edge", seq: -1, time: 0, source: -1, level: 0, text: searchText(remote), runs: [], marks: [], more: 0, json: false, aside: remote.state, remote };
    const older = hidden > 0 || this.selection.stores.some((store) => store.older !== null && store.older !== undefined);
    const known = this.selection.stores.some((store) => store.rows > 0 || store.state !== "");
    const text = loading ? "Loading older lines…" : older ? "Older lines" : known ? "Beginning of the log" : "";
    return { id: EDGE_ID, kind: "edge", seq: -1, time: 0, source: -1, level: 0, text, runs: [], marks: [], more: 0, json: false };
  }

  #row(id: number): Row {
    const slot = this.selection.slotOf(id);
    const row = this.selection.rowOf(id);
    const store = this.selection.stores[slot];
    const member = this.selection.memberOf(slot, row);
    const shown = present(store, member, id, this.#groupOfRow(slot, member), this.#marker, this.selection.filter.pretty, this.selection.opened.has(id), this.selection.filter.fields);
    const twins = store.folds.heads.get(row)?.twins ?? [];
    if (twins.length > 0) shown.also = [row, ...twins].filter((one) => one !== member).map((one) => this.#groupOfRow(slot, one));
    return shown;
  }

  #groupOfRow(slot: number, row: number): number {
    const source = this.selection.stores[slot].source[row];
    return source === NO_SOURCE ? -1 : this.#group(slot, source);
  }

  /** What is sought is marked; else what is filtered by. */
  get #marker(): { find(text: string): number[] } {
    const { finder, matcher } = this.selection;
    return finder.active ? { find: (text) => finder.marks(text) } : matcher;
  }

  #group(slot: number, source: number): number {
    const known = (this.#groupOf[slot] ??= [])[source];
    if (known !== undefined) return known;
    const store = this.selection.stores[slot];
    const { pod, container, kind } = store.sources[source];
    const key = this.selection.keyOfSource(store, source);
    let group = this.#groupIds.get(key);
    if (group === undefined) {
      group = this.#groups.length;
      this.#groupIds.set(key, group);
      this.#sourcesAt = -Infinity;
      this.#groups.push({ key, task: store.task, pod, container, kind, hue: hueOf(pod, this.#hues), on: true, runs: [], index: null, lines: 0, state: "running", exit: null, node: "", last: 0 });
    }
    this.#groupOf[slot][source] = group;
    return group;
  }

  /** The sources as readers know them: containers of pods, with their runs. */
  sources(): SourceSummary[] {
    for (const group of this.#groups) group.runs = [];
    for (const [slot, store] of this.selection.stores.entries()) {
      for (const [id, source] of store.sources.entries()) {
        const { run, lines, told, since, state, exit, begun, ended, lastKey, kind, node, index } = source;
        const group = this.#groups[this.#group(slot, id)];
        group.runs.push({ key: store.runKeyOf(source), run, on: this.selection.isOn(slot, id), lines: told > 0 ? Math.max(lines, told + since) : lines, state, exit, begun, ended, last: Math.max(0, lastKey) });
        group.kind = kind;
        group.node = node || group.node;
        group.index = index ?? group.index;
      }
    }
    for (const group of this.#groups) summarize(group);
    return this.#groups;
  }
}

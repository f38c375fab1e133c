/** What one view on the page sees now: a slice of its selection, held in place, with counts. At most one update is under way. */

import type { Filter, Jump, Look } from "../../types/asked.ts";
import type { Update } from "../../types/update.ts";
import type { RemoteSearch } from "../../types/summary.ts";
import { Aim } from "./aim.ts";
import { TimeAxis } from "./axis.ts";
import type { Beyond, Goal } from "../asking/beyond.ts";
import { destination } from "../asking/jump.ts";
import { EDGE_ID, edge } from "./fillers.ts";
import { Groups } from "./groups.ts";
import { layoutOf } from "./layout.ts";
import { Order } from "./order.ts";
import { type RemoteQuery, remoteQuery } from "../asking/remote.ts";
import type { Search } from "../asking/search.ts";
import { Selection } from "./selection.ts";
import { Slice, type Wanted } from "./slice.ts";
import { Window } from "./window.ts";
import type { TaskStore } from "../holding/store.ts";

const SOURCES_EVERY = 250;
const RATE_OVER = 5000;
export interface Surroundings {
  now: number;
  live: boolean;
  loading: boolean;
  rest: Pick<Update, "link" | "transport" | "behind" | "problem" | "tasks" | "ahead">;
}

export class View {
  waiting = false;
  dirty = true;
  /** Somebody can see it. */
  seen = true;
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
  wish: Wanted | null = null;
  generation = 0;
  readonly selection: Selection;
  readonly groups: Groups;
  readonly window: Window;
  readonly #axis: TimeAxis;
  readonly aim: Aim;
  /** By a clock that is never set back. */
  #sourcesAt = -Infinity;
  #sourcesOf = -1;
  #sent = "";
  #order: Order | undefined;

  constructor(
    readonly id: string,
    readonly model: string,
    stores: TaskStore[],
    filter: Filter,
    public look: Look,
  ) {
    this.selection = new Selection(stores, filter);
    this.groups = new Groups(this.selection);
    this.window = new Window(this.selection);
    this.#axis = new TimeAxis(this.selection, this.window);
    this.aim = new Aim(this.selection, look.follow ? null : (look.seek ?? null));
  }

  /** The same view of rows that have other numbers. */
  renew(stores: TaskStore[], look: Look): View {
    const anew = new View(this.id, this.model, stores, this.selection.filter, look);
    anew.waiting = this.waiting;
    anew.seen = this.seen;
    anew.window.extended = this.window.extended;
    anew.window.low = this.window.low;
    anew.search = this.search;
    anew.beyond = this.beyond;
    anew.charted = anew.chartDue = this.charted;
    anew.generation = this.generation + 1;
    return anew;
  }

  refilter(filter: Filter): void {
    const { since, from, until } = this.selection.filter;
    if (filter.since !== since || filter.from !== from || filter.until !== until) {
      this.window.extended = false;
      this.window.low = -Infinity;
    }
    this.#sourcesAt = -Infinity;
    this.selection.refilter(filter);
  }

  /** The next is the one below: newest first, the one before. */
  inTime<To extends Jump>(to: To): To {
    return "by" in to && this.look.newestFirst ? { ...to, by: to.by === 1 ? -1 : 1 } : to;
  }

  /** Its filter, as one of its tasks can be asked for it. */
  remoteQuery(store: TaskStore): RemoteQuery | null {
    return remoteQuery(this.selection.filter, this.groups.summaries().filter(({ task }) => task === store.task));
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
    const id = destination(this.inTime(to), selection, selection.finder, this.window.low);
    const time = to.to === "time" ? to.time : null;
    if (id === null && time === null) return false;
    if (to.to === "found" && id !== null) selection.revealFound(id);
    if ((time ?? selection.keyOf(id!)) < this.window.low) this.window.extended = true;
    this.aim.jump(id, time);
    this.look = { ...this.look, follow: false, anchor: id ?? EDGE_ID, anchorIndex: 0 };
    return true;
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

  /** Whether a second that has passed changes more of what is shown than words that count up. */
  isStale({ now, live, rest }: Surroundings): boolean {
    const low = this.window.begin(now, live, this.look.follow);
    const start = low === -Infinity ? 0 : this.selection.shown.lowerBound((id) => this.selection.keyOf(id) < low);
    return this.aim.seek !== null || this.#sentOf(start, this.#rate(now, live), rest) !== this.#sent || this.#sourcesOf !== this.selection.all.length || this.#axis.isStale({ now, live, low, follow: this.look.follow });
  }

  #sentOf(start: number, rate: number, { ahead, behind }: Surroundings["rest"]): string {
    return `${start} ${this.selection.all.length} ${rate} ${Math.trunc(ahead / 2000)} ${behind}`;
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
    const low = this.window.begin(now, live, this.look.follow);
    const start = low === -Infinity ? 0 : shown.lowerBound((id) => selection.keyOf(id) < low);
    const { until } = selection.filter;
    const end = until === null ? shown.length : Math.max(start, shown.lowerBound((id) => selection.keyOf(id) <= until));
    const count = end - start;
    const layout = layoutOf(selection, start, count, low);
    const order = (this.#order = new Order(selection, layout, start, end, look.newestFirst ?? false));
    const what = { start, count, layout, order };
    const aimed = this.aim.at(look, what);
    this.look = aimed.look;
    const from = Math.max(0, Math.min(aimed.from, order.total - 1));
    const { rows, wish } = new Slice(selection, this.groups, what, from, look.count, look.follow, () => edge(stores, loading, start, this.#remote(0)));
    this.wish = wish;
    const rate = this.#rate(now, live);
    this.#sent = this.#sentOf(start, rate, rest);
    const update: Update = {
      ...rest,
      op: "update",
      view: this.id,
      total: order.total,
      first: from,
      shift: aimed.shift,
      follow: look.follow,
      newestFirst: look.newestFirst ?? false,
      rows,
      generation: this.generation,
      seek: aimed.seek,
      lines: stores.reduce((sum, store) => sum + store.recorded, 0),
      shown: count,
      filtered: selection.filtered,
      searching: selection.unsearched,
      remote: this.#remote(count),
      beyond: this.beyond?.said,
      find: this.#find(low),
      jump: aimed.jump,
      rate,
      newest: this.window.newest,
      now,
      loading,
      filterError: selection.matcher.error,
    };
    const at = performance.now();
    if (this.groups.isNew || at - this.#sourcesAt >= SOURCES_EVERY) {
      this.#sourcesAt = all.length === 0 ? -Infinity : at;
      this.#sourcesOf = all.length;
      this.groups.isNew = false;
      update.sources = this.groups.summaries();
    }
    const histogram = this.#axis.next(at, { now, live, low, follow: look.follow });
    if (histogram) update.histogram = histogram;
    return update;
  }

  #find(low: number): Update["find"] {
    const { finder, keyOf } = { finder: this.selection.finder, keyOf: (id: number) => this.selection.keyOf(id) };
    if (!finder.active && finder.error === "") return undefined;
    const { jumped } = this.aim;
    const first = low === -Infinity ? 0 : finder.found.lowerBound((id) => keyOf(id) < low);
    const at = jumped === null ? -1 : finder.found.placeOf(jumped);
    const here = at >= first && at < finder.found.length && finder.found.at(at) === jumped;
    const count = finder.found.length - first;
    return { count, at: !here ? -1 : this.look.newestFirst ? count - 1 - (at - first) : at - first, searching: finder.unsearched, error: finder.error };
  }

  #remote(matches: number): RemoteSearch | undefined {
    const { search } = this;
    return search === null ? undefined : { state: search.state, to: search.to, matches, message: search.message };
  }
}

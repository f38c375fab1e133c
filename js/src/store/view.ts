/** One view on the page: counts, and a slice of the selected rows. The slice stays in place while rows are added. The page draws an update before it gets the next. */

import type { Filter, Jump, Viewport } from "../protocol/requests.ts";
import type { RemoteSearchState, SavedRow, UnmetFilter, Update } from "../protocol/update.ts";
import { visibleText } from "../text/ansi.ts";
import { truncate } from "../text/format.ts";
import { LEVELS } from "../text/level.ts";
import { filterTerms } from "../text/query.ts";
import { findDestination, type JumpGoal, type RemoteJump } from "./jump.ts";
import { buildLayout, DisplayOrder, findTicks, type ShownRows } from "./layout.ts";
import { NOTICE } from "./lines.ts";
import { type RemoteQuery, remoteQuery, type RemoteSearch } from "./remotesearch.ts";
import { type RegexGuard, Selection } from "./selection.ts";
import type { RowSequence } from "./sequence.ts";
import { EDGE_ID, edgeRow, renderShown, ScrollAnchor, Slice, type WantedSpanRows } from "./slice.ts";
import { SourceGroups } from "./sources.ts";
import type { TaskStore } from "./taskstore.ts";
import { TimeAxis, TimeWindow } from "./timeaxis.ts";
import { explainUnmet } from "./unmet.ts";

/** Minimum time between two updates of the list of sources (ms). */
const SOURCES_EVERY_MS = 250;
/** The rate of lines is measured over this time (ms). */
const RATE_OVER_MS = 5000;

/** Maximum number of characters of a traceback's line that are saved in a notebook. */
const MAX_SAVED_CHARS = 1000;

/** What a view has to know besides its own state. */
export interface ViewContext {
  now: number;
  live: boolean;
  loading: boolean;
  /** The parts of the update that are equal for all views of the same tasks. */
  shared: Pick<Update, "link" | "transport" | "linesBehind" | "problem" | "tasks" | "clockAhead">;
}

/** The first one is a time, so that views of an earlier worker have others. */
let lastGeneration = Date.now();

export class View {
  awaitsAck = false;
  isDirty = true;
  /** Whether the view is on the screen. */
  isVisible = true;
  /** The filter's search in lines that are not loaded. */
  search: RemoteSearch | null = null;
  /** The search for the next match or error in lines that are not loaded. */
  remoteJump: RemoteJump | null = null;
  /** The unloaded line that a jump waits for. */
  goal: JumpGoal | null = null;
  /** Whether the chart is shown, and whether it changed since it was sent. */
  hasChart = false;
  isChartDue = false;
  /** Visible rows that are not loaded. */
  wantedRows: WantedSpanRows | null = null;
  readonly #generation = ++lastGeneration;
  readonly selection: Selection;
  readonly groups: SourceGroups;
  readonly window: TimeWindow;
  readonly #axis: TimeAxis;
  readonly scrollAnchor: ScrollAnchor;
  /** When the sources were last sent (`performance.now`, ms), and whether an update since then left them out because it came too soon. */
  #sourcesSentAt = -Infinity;
  #areSourcesDue = false;
  /** What the last update showed, see `#drawnStateOf`. */
  #drawnState = "";
  #order: DisplayOrder | undefined;

  constructor(
    readonly id: string,
    readonly model: string,
    stores: TaskStore[],
    filter: Filter,
    public viewport: Viewport,
    readonly regexGuard?: RegexGuard,
  ) {
    this.selection = new Selection(stores, filter, regexGuard);
    this.groups = new SourceGroups(this.selection);
    this.window = new TimeWindow(this.selection);
    this.#axis = new TimeAxis(this.selection, this.window);
    this.scrollAnchor = new ScrollAnchor(this.selection, viewport.follow ? null : (viewport.seek ?? null));
  }

  /** Return a copy of this view for rows that were renumbered, or for other stores. */
  recreate(stores: TaskStore[], viewport: Viewport): View {
    const recreated = new View(this.id, this.model, stores, this.selection.filter, viewport, this.regexGuard);
    recreated.awaitsAck = this.awaitsAck;
    recreated.isVisible = this.isVisible;
    recreated.window.isExtended = this.window.isExtended;
    recreated.window.low = this.window.low;
    recreated.search = this.search;
    recreated.remoteJump = this.remoteJump;
    recreated.hasChart = recreated.isChartDue = this.hasChart;
    return recreated;
  }

  /** If only the bars of the time axis are to be split otherwise, do that and return true: no line has to be searched again. */
  resplit(filter: Filter): boolean {
    const { selection } = this;
    if (filter.split === selection.filter.split || JSON.stringify({ ...selection.filter, split: filter.split }) !== JSON.stringify(filter)) return false;
    selection.filter = filter;
    return true;
  }

  refilter(filter: Filter): void {
    const { since, from, until } = this.selection.filter;
    if (filter.since !== since || filter.from !== from || filter.until !== until) {
      this.window.isExtended = false;
      this.window.low = -Infinity;
    }
    this.#sourcesSentAt = -Infinity;
    this.selection.refilter(filter);
  }

  /** Convert a direction on the screen into a direction in time: if the newest line is on top, the next row is an older one. */
  toTimeOrder<To extends Jump>(to: To): To {
    return "by" in to && this.viewport.newestFirst ? { ...to, by: to.by === 1 ? -1 : 1 } : to;
  }

  /** Return the filter as a query to the server for one of the tasks; null if none of its sources is shown. */
  remoteQuery(store: TaskStore): RemoteQuery | null {
    return remoteQuery(this.selection.filter, this.groups.summaries().filter(({ task }) => task === store.task));
  }

  /** All matches of the filter after this time (ms) are known, whether their lines are loaded or not. */
  get searchedTo(): number {
    if (this.search === null) return Infinity;
    return this.search.state === "done" ? -Infinity : this.search.to;
  }

  /** Jump. Return false if there is no row to jump to. If the row is before the window, the window is extended to all older rows. */
  jump(to: Jump): boolean {
    const { selection } = this;
    if (to.to === "seq") selection.reveal(to.task, to.seq);
    const id = findDestination(this.toTimeOrder(to), selection, selection.finder, this.window.low);
    const time = to.to === "time" ? to.time : null;
    if (id === null && time === null) return false;
    if (to.to === "match" && id !== null && selection.finder.isActive) selection.revealMatch(id);
    if ((time ?? selection.keyOf(id!)) < this.window.low) this.window.isExtended = true;
    this.scrollAnchor.jump(id, time);
    this.viewport = { ...this.viewport, follow: false, anchor: id ?? EDGE_ID, anchorIndex: 0 };
    return true;
  }

  /** Return the ids of the displayed rows between two rows, both included, ordered by time. */
  between(from: number, to: number): number[] {
    return this.#order?.between(from, to) ?? [];
  }

  /** Return the last displayed rows up to a row (null: up to the newest one), at most `most`, with the lines of folded tracebacks. */
  lastRows(context: ViewContext, to: number | null, most: number): SavedRow[] {
    const { selection, groups } = this;
    const { anchor } = this.viewport;
    // Out of sight a view is not updated, but lines come, and rows are renumbered. The page does not know their new ids.
    const last = this.#order !== undefined || to === null ? to : anchor! < 0 ? null : anchor;
    return this.#arrange(context).order.lastIds(last, most).map((id) => {
      const row = renderShown(selection, groups, id, { find: () => [] });
      const { folds, texts } = selection.stores[selection.slotOf(id)];
      const head = selection.rowOf(id);
      const isFolded = row.fold === "shut" && Boolean(folds.heads.get(head)?.traceback);
      return isFolded ? { ...row, lines: [head, ...folds.membersOf(head)].map((one) => visibleText(truncate(texts[one], MAX_SAVED_CHARS))) } : row;
    });
  }

  /** The time of the row that the user is reading; null while following. */
  readerTime(): number | null {
    const { anchor } = this.viewport;
    return anchor === null || anchor < 0 ? null : this.selection.keyOf(anchor);
  }

  /** Return whether the view must be drawn again although no line has come: because time has passed. Texts that count up update themselves. */
  isStale({ now, live, shared }: ViewContext): boolean {
    const low = this.window.start(now, live, this.viewport.follow);
    const start = this.#firstShown(low);
    return this.scrollAnchor.seekTime !== null || this.#drawnStateOf(start, this.#rate(now, live), shared) !== this.#drawnState || this.#areSourcesDue || this.#axis.isStale({ now, live, low, follow: this.viewport.follow, searchedTo: this.searchedTo });
  }

  /** Return the index of the first row in a window that begins at `low`. A fold that began before and still grows is in it. */
  #firstShown(low: number): number {
    if (low === -Infinity) return 0;
    const { selection } = this;
    let first = selection.shown.lowerBound((id) => selection.keyOf(id) < low);
    while (first > 0 && selection.lastKeyOf(selection.shown.at(first - 1)) >= low) first--;
    return first;
  }

  #drawnStateOf(start: number, rate: number, { clockAhead, linesBehind }: ViewContext["shared"]): string {
    return `${start} ${this.selection.all.length} ${rate} ${Math.trunc(clockAhead / 2000)} ${linesBehind}`;
  }

  #rate(now: number, live: boolean): number {
    const { all } = this.selection;
    if (!live || this.selection.stores.every((store) => store.lines === 0)) return 0;
    const from = Math.min(now, Date.now() + 60_000) - RATE_OVER_MS;
    return (all.length - all.lowerBound((id) => this.selection.keyOf(id) < from)) / (RATE_OVER_MS / 1000);
  }

  /** Return which rows are shown, and the start of the window (ms). */
  #arrange({ now, live }: ViewContext): ShownRows & { low: number } {
    const { selection, viewport } = this;
    const { shown, filter } = selection;
    const low = this.window.start(now, live, viewport.follow);
    const start = this.#firstShown(low);
    const end = filter.until === null ? shown.length : Math.max(start, shown.lowerBound((id) => selection.keyOf(id) <= filter.until!));
    const layout = buildLayout(selection, start, end - start, low);
    return { low, start, count: end - start, layout, order: new DisplayOrder(selection, layout, start, end, viewport.newestFirst ?? false) };
  }

  update(context: ViewContext): Update {
    const { now, live, loading, shared } = context;
    const { selection, viewport } = this;
    const { shown, all, stores } = selection;
    const shownRows = this.#arrange(context);
    const { low, start, count, order } = shownRows;
    const { until } = selection.filter;
    this.#order = order;
    const oldest = count > 0 ? Math.min(low, selection.keyOf(shown.at(start))) : low;
    const countIn = (rows: RowSequence): number => rows.lowerBound((id) => until === null || selection.keyOf(id) <= until) - rows.lowerBound((id) => selection.keyOf(id) < oldest);
    const matches = selection.filtered ? Math.max(0, countIn(selection.matched) - countIn(selection.notices)) : count;
    const slice = this.scrollAnchor.resolve(viewport, shownRows);
    this.viewport = slice.viewport;
    const from = Math.max(0, Math.min(slice.from, order.total - 1));
    const { rows, wanted } = new Slice(selection, this.groups, shownRows, from, viewport.count, viewport.follow, () => edgeRow(stores, loading, start, this.#remote(0)));
    this.wantedRows = wanted;
    const rate = this.#rate(now, live);
    this.#drawnState = this.#drawnStateOf(start, rate, shared);
    const update: Update = {
      ...shared,
      op: "update",
      view: this.id,
      total: order.total,
      first: from,
      shift: slice.shift,
      follow: viewport.follow,
      newestFirst: viewport.newestFirst ?? false,
      rows,
      generation: this.#generation,
      seekRow: slice.seekRow,
      lines: stores.reduce((sum, store) => sum + store.recorded, 0),
      shown: matches,
      filtered: selection.filtered,
      searching: selection.unsearched,
      remote: this.#remote(matches),
      beyond: this.remoteJump?.summary,
      find: this.#find(low),
      jump: slice.jump,
      rate,
      newest: this.window.newest,
      now,
      loading,
      filterError: selection.matcher.error,
      unmet: matches === 0 && selection.matcher.active && selection.unsearched === 0 ? this.#explainUnmet() : undefined,
    };
    const at = performance.now();
    this.#areSourcesDue = !this.groups.hasNew && at - this.#sourcesSentAt < SOURCES_EVERY_MS;
    if (!this.#areSourcesDue) {
      this.#sourcesSentAt = all.length === 0 ? -Infinity : at;
      this.groups.hasNew = false;
      update.sources = this.groups.summaries();
    }
    const histogram = this.#axis.redraw(at, { now, live, low, follow: viewport.follow, searchedTo: this.searchedTo });
    if (histogram) {
      update.histogram = histogram;
      update.ticks = findTicks(selection, shownRows);
    }
    return update;
  }

  #unmet: { filter: Filter; lines: number; result: UnmetFilter } | undefined;

  /** Explain why no line meets the filter; again after it has changed, or when there are twice as many lines. */
  #explainUnmet(): UnmetFilter {
    const { all, filter } = this.selection;
    if (this.#unmet?.filter !== filter || all.length >= 2 * this.#unmet.lines) this.#unmet = { filter, lines: all.length, result: explainUnmet(this.selection, filterTerms(filter)) };
    return this.#unmet.result;
  }

  #find(low: number): Update["find"] {
    const { finder, keyOf } = { finder: this.selection.finder, keyOf: (id: number) => this.selection.keyOf(id) };
    if (!finder.isActive && finder.error === "") return undefined;
    const { jumpedTo } = this.scrollAnchor;
    const first = low === -Infinity ? 0 : finder.matches.lowerBound((id) => keyOf(id) < low);
    const at = jumpedTo === null ? -1 : finder.matches.indexFor(jumpedTo);
    const here = at >= first && at < finder.matches.length && finder.matches.at(at) === jumpedTo;
    const count = finder.matches.length - first;
    return { count, at: !here ? -1 : this.viewport.newestFirst ? count - 1 - (at - first) : at - first, searching: finder.unsearched, error: finder.error };
  }

  #remote(matches: number): RemoteSearchState | undefined {
    const { search } = this;
    return search === null ? undefined : { state: search.state, to: search.to, matches, message: search.message };
  }
}

/** Maximum number of lines that are copied at once. */
const MAX_COPIED = 100_000;

export function copyRows(selection: Selection, ids: number[], as: "text" | "json" | "code"): string {
  const { stores } = selection;
  const lines: string[] = [];
  const picked = stores.map(() => ({ numbers: [] as number[], notices: [] as number[] }));
  for (const id of ids) {
    if (lines.length >= MAX_COPIED) break;
    const slot = selection.slotOf(id);
    const store = stores[slot];
    const row = selection.rowOf(id);
    if (store.flags[row] & NOTICE) {
      picked[slot].notices.push(store.seq[row]);
      continue;
    }
    // If a fold is closed, copy its members too.
    for (const one of [row, ...(selection.opened.has(id) ? [] : store.folds.membersOf(row))]) {
      const [seq, text] = [store.seq[one], store.texts[one]];
      picked[slot].numbers.push(seq);
      if (as === "code") lines.push("");
      else if (as === "text") lines.push(text);
      else {
        const { pod, container } = store.sources[store.source[one]];
        lines.push(JSON.stringify({ ...(stores.length > 1 && { task: store.task }), seq, time: new Date(store.timeOf(one)).toISOString(), pod, container, level: LEVELS[store.levelOf(one)] || null, text }));
      }
    }
  }
  if (as === "code") return picked.flatMap(({ numbers, notices }, slot) => (numbers.length === 0 ? [] : [codeOf(stores.length > 1 ? `cortex_jupyter.logs(${JSON.stringify(stores[slot].task)})` : "log", numbers, notices)])).join("\n");
  return lines.map((line) => `${line}\n`).join("");
}

/** Return code for just these lines. Numbers are in the order of recording, so lines that are shown together may have others between theirs; notices, which have numbers too, do not matter. */
function codeOf(log: string, numbers: number[], notices: number[]): string {
  const seqs = numbers.toSorted((a, b) => a - b);
  const [low, high] = [seqs[0], seqs.at(-1)!];
  const known = new Set([...numbers, ...notices.filter((seq) => seq > low && seq < high)]);
  return known.size === high - low + 1 ? `${log}.seq[${low}:${high + 1}]` : `[${log}.seq[n] for n in (${numbers.join(", ")})]`;
}

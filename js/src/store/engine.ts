/** Receives the page's messages and sends updates. It runs in a worker, or in the page itself if the page forbids workers. */

import type { FromStore, ToEngine } from "../protocol/messages.ts";
import type { Filter } from "../protocol/requests.ts";
import type { Update } from "../protocol/update.ts";
import type { Charts } from "./charts.ts";
import { LineMemory } from "./eviction.ts";
import { StreamIngest } from "./ingest.ts";
import { ClusterClock, Links } from "./links.ts";
import { Loader } from "./loader.ts";
import { OutlineLoader } from "./outlineloader.ts";
import { fieldsOf } from "./rendering.ts";
import { goalOf, UnloadedSearch } from "./unloadedsearch.ts";
import { type StoreWatcher, Tasks } from "./tasks.ts";
import type { TaskStore } from "./taskstore.ts";
import { copyRows, View } from "./view.ts";
import { enqueue, Views } from "./views.ts";

const KEEP_MS = 5000;
/** After a pause in typing of this length the server is asked to search (ms). */
const TYPING_PAUSE_MS = 400;
const TICK_MS = 1000;
/** If two ticks are further apart than this, the machine has slept (ms). */
const SLEPT_MS = 30_000;

export class Engine implements StoreWatcher {
  #ticked = Date.now();
  readonly #clock = new ClusterClock();
  readonly #tasks = new Tasks(this.#clock);
  readonly #views: Views;
  readonly #loader: Loader = new Loader(this.#tasks, this, (task, problem) => this.#ingest.onCursorExpired(task, problem));
  readonly #unloadedSearch: UnloadedSearch;
  readonly #outlines = new OutlineLoader(this.#tasks, this);
  readonly #ingest = new StreamIngest(this.#tasks, this.#loader, this.#outlines, this.#clock, this);
  readonly #links: Links;
  #searching = false;
  #searchTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #ticker: ReturnType<typeof setInterval>;

  readonly #post: (message: FromStore) => void;
  /** Whether a watchdog terminates this worker if a regular expression takes too long. */
  readonly #guarded: boolean;
  /** The memory of the page, which all its engines share. */
  readonly #memory: LineMemory;

  constructor(
    post: (message: FromStore) => void,
    guarded: boolean,
    fetcher?: typeof fetch,
    memory = new LineMemory(),
  ) {
    this.#post = post;
    this.#guarded = guarded;
    this.#memory = memory;
    memory.add(this.#tasks, this);
    this.#views = new Views(post, this.#clock, this.#tasks);
    this.#views.loader = this.#loader;
    this.#unloadedSearch = new UnloadedSearch(this.#views, this.#tasks, this.#loader, this);
    const actions = {
      send: (model: string, message: Record<string, unknown>) => post({ op: "send", model, message }),
      headers: () => post({ op: "headers" }),
      changed: () => this.changed(),
      arrived: () => this.#views.flushAll(),
    };
    this.#links = this.#tasks.links = new Links(this.#ingest, this.#clock, actions, fetcher);
    this.#ticker = setInterval(() => this.#everySecond(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#ticker);
    clearTimeout(this.#searchTimer);
    for (const view of this.#views.all.values()) {
      view.search?.stop();
      view.remoteJump?.stop();
    }
    this.#views.charts?.close();
    this.#links.close();
    this.#memory.remove(this.#tasks);
  }

  useCharts(ChartsClass: typeof Charts): void {
    this.#views.useCharts(ChartsClass);
  }

  receive(message: ToEngine): void {
    const links = this.#links;
    switch (message.op) {
      case "config":
        links.config = message.config;
        break;
      case "subscribe":
        links.subscriptions.set(message.model, message);
        for (const task of message.tasks) this.#tasks.entryOf(task);
        links.assignTasks();
        break;
      case "unsubscribe":
        links.subscriptions.delete(message.model);
        links.assignTasks();
        setTimeout(() => this.#tasks.keepOnly(links.wantedTasks), KEEP_MS);
        break;
      case "comm":
        links.receive(message.model, message.message, message.bytes);
        break;
      case "view":
        this.#views.all.set(message.view, new View(message.view, message.model, this.#views.storesOf(message.model), message.filter, message.viewport, { isWatched: this.#guarded, announce: (find) => this.#post({ op: "testing", view: message.view, find }) }));
        this.#views.all.get(message.view)!.isVisible = message.isVisible ?? true;
        this.#foldEqualLines(this.#views.all.get(message.view)!);
        this.#views.updateCharts();
        this.#views.refresh(this.#views.all.get(message.view));
        this.#searchSlice();
        break;
      case "close":
        this.#views.all.get(message.view)?.search?.stop();
        this.#views.all.get(message.view)?.remoteJump?.stop();
        this.#views.all.delete(message.view);
        this.#views.updateCharts();
        break;
      case "retry":
        for (const task of links.tasksOf(message.model)) {
          const entry = this.#tasks.get(task);
          if (entry) entry.problem = null;
          links.entryOf(task)?.link.retry();
        }
        break;
      case "wake":
        links.wake();
        break;
      case "ping":
        this.#post({ op: "pong" });
        break;
      default:
        this.#receiveForView(message);
    }
  }

  #receiveForView(message: Extract<ToEngine, { view: string }>): void {
    const view = this.#views.all.get(message.view);
    if (view === undefined) return;
    // If the user does something else, a remote jump ends.
    if (["filter", "find", "jump"].includes(message.op) || (message.op === "viewport" && message.viewport.follow)) {
      view.remoteJump?.stop();
      view.remoteJump = view.goal = null;
    }
    if (message.op === "filter") {
      if (!view.resplit(message.filter)) this.#refilter(view, message.filter);
    } else if (message.op === "viewport") {
      if (message.viewport.follow && !view.viewport.follow) view.window.isExtended = false;
      if (message.viewport.follow || message.viewport.seek === null) view.scrollAnchor.seekTime = null;
      const { anchor } = message.viewport;
      view.viewport = anchor === null || anchor < 0 || view.selection.hasId(anchor) ? message.viewport : { ...message.viewport, anchor: null };
    } else if (message.op === "ack" || message.op === "visible") {
      if (message.op === "ack") view.awaitsAck = false;
      else view.isVisible = message.isVisible;
      if (view.isDirty) this.#views.flush(view);
      if (view.hasChart) this.#views.charts?.read();
      return;
    } else if (message.op === "loadOlder") {
      view.window.isExtended = true;
      this.#unloadedSearch.endSearch(view);
      for (const store of view.selection.stores) {
        const head = store.spans.find(({ from }) => from === -Infinity);
        void (head ? this.#loader.loadBefore(store.task, head) : this.#loader.loadOlder(store.task));
      }
    } else if (message.op === "loadSpan") {
      const store = view.selection.stores[view.selection.slotOf(message.id)];
      const row = view.selection.rowOf(message.id);
      if (store) void this.#loader.loadAfter(store.task, store.spans.find((span) => span.row === row));
    } else if (message.op === "search") {
      if (message.go) view.search?.go();
      else view.search?.stop();
    } else if (message.op === "toggleFold") view.selection.toggleFold(message.id);
    else if (message.op === "copy") {
      this.#post({ op: "text", ask: message.ask, text: copyRows(view.selection, view.between(message.from, message.to), message.as), fields: null });
      return;
    } else if (message.op === "lastRows") {
      this.#post({ op: "rows", ask: message.ask, rows: view.lastRows(this.#views.contextOf(view), message.to, message.most) });
      return;
    } else if (message.op === "find") {
      view.selection.finder.set(message.term);
      this.#searchSlice();
    } else if (message.op === "chart") {
      view.hasChart = view.isChartDue = message.on;
      this.#views.updateCharts();
    } else if (message.op === "jump") {
      if (!this.#unloadedSearch.startRemoteJump(view, message.jump) && !view.jump(this.#unloadedSearch.resolveUnloaded(view, message.jump))) return;
    } else if (message.op === "text") {
      const store = view.selection.stores[view.selection.slotOf(message.id)];
      const text = store?.texts[view.selection.rowOf(message.id)] ?? "";
      this.#post({ op: "text", ask: message.ask, text, fields: fieldsOf(text) });
      return;
    }
    this.#views.refresh(view);
  }

  #refilter(view: View, filter: Filter): void {
    view.refilter(filter);
    this.#foldEqualLines(view);
    for (const task of this.#links.tasksOf(view.model)) this.#tasks.entryOf(task).autoPages = 0;
    this.#searchSlice();
    this.#coverWindow(view);
    this.#unloadedSearch.endSearch(view);
    clearTimeout(this.#searchTimer);
    this.#searchTimer = setTimeout(() => this.#unloadedSearch.startSearches(), TYPING_PAUSE_MS);
  }

  /** Fold equal lines of the view's tasks. All views of a task share its folds, so the strongest mode that one of them asks for counts. */
  #foldEqualLines(asking: View): void {
    for (const store of asking.selection.stores) {
      const views = [...this.#views.all.values()].filter(({ selection }) => selection.stores.includes(store));
      const same = (["masked", "exact"] as const).find((one) => views.some(({ selection }) => selection.filter.equalLines === one)) ?? "";
      if (store.folds.equalLines === same) continue;
      store.refold(same);
      for (const { selection } of views) selection.reload();
    }
  }

  // StoreWatcher

  rowsAdded(store: TaskStore, before: number): void {
    for (const view of this.#views.all.values()) view.selection.removeJoining(store);
    store.folds.settle();
    for (const view of this.#views.all.values()) {
      if (!view.selection.stores.includes(store)) continue;
      view.isDirty = true;
      view.selection.addRows(store, before, store.rows);
      const goal = goalOf(view);
      if (goal?.store !== store || !store.isLoaded(goal.seq)) continue;
      view.remoteJump = view.goal = null;
      view.jump({ to: "seq", task: store.task, seq: goal.seq });
    }
    this.#searchSlice();
    this.#views.charts?.read();
  }

  rowRemoved(store: TaskStore, row: number): void {
    for (const view of this.#views.all.values()) view.selection.removeRow(store, row);
  }

  rowsEvicted(store: TaskStore): void {
    for (const { selection } of this.#views.all.values()) if (selection.stores.includes(store)) selection.removeEvicted();
  }

  /** Recreate the views of a task whose rows were renumbered. */
  rowsRenumbered(store: TaskStore, rows: Int32Array): void {
    this.#views.charts?.renumber(store, rows);
    for (const view of this.#views.all.values()) {
      const { viewport, selection } = view;
      const slot = selection.stores.indexOf(store);
      if (slot === -1) continue;
      const mine = viewport.anchor !== null && viewport.anchor >= 0 && selection.slotOf(viewport.anchor) === slot;
      const anchor = mine ? rows[selection.rowOf(viewport.anchor!)] : -1;
      const recreated = view.recreate(selection.stores, mine ? { ...viewport, anchor: anchor < 0 ? null : selection.idOf(slot, anchor) } : viewport);
      this.#views.all.set(view.id, recreated);
    }
  }

  limitMemory(): void {
    this.#memory.limit();
  }

  readerKeys(store: TaskStore): number[] {
    return [...this.#views.all.values()].filter(({ selection }) => selection.stores.includes(store)).map((view) => view.readerTime()).filter((time) => time !== null);
  }

  pageLoaded(store: TaskStore): void {
    for (const view of this.#views.all.values()) if (view.selection.stores.includes(store)) this.#coverWindow(view);
  }

  widestWindow(store: TaskStore): number {
    return Math.max(0, ...[...this.#views.all.values()].filter(({ selection }) => selection.stores.includes(store)).map(({ window }) => window.length(this.#tasks.now()) ?? 0));
  }

  tasksReset(tasks: string[], begin: () => void): void {
    const places = new Map([...this.#views.all.values()].map((view) => [view.id, view.scrollAnchor.seekTime ?? view.readerTime()]));
    begin();
    for (const view of this.#views.all.values()) {
      const { viewport, selection, model, id } = view;
      if (!selection.stores.some((store) => tasks.includes(store.task))) continue;
      view.remoteJump?.stop();
      const recreated = view.recreate(this.#views.storesOf(model), { ...viewport, anchor: null });
      recreated.remoteJump = null;
      recreated.selection.finder.set(view.selection.finder.term);
      recreated.scrollAnchor.seekTime = viewport.follow ? null : (places.get(id) ?? null);
      this.#views.all.set(id, recreated);
      if (recreated.scrollAnchor.seekTime !== null) for (const task of tasks) this.#ingest.keepReachable(task, recreated.scrollAnchor.seekTime);
    }
    this.#views.updateCharts();
    this.changed();
  }

  #everySecond(): void {
    const slept = Date.now() - this.#ticked > SLEPT_MS;
    this.#ticked = Date.now();
    if (slept) this.#links.wake();
    const seen = [...this.#views.all.values()].filter((view) => view.isVisible);
    this.#outlines.everySecond(new Set(seen.flatMap(({ selection }) => selection.stores)));
    this.#unloadedSearch.startSearches();
    for (const view of seen) this.#unloadedSearch.loadGoal(view);
    for (const { wantedRows } of seen) if (wantedRows) void this.#loader.loadVisible(wantedRows.store.task, wantedRows);
    // Post all updates together, so that the page draws them in one frame.
    const updates: Update[] = [];
    try {
      for (const view of seen) if (!view.awaitsAck && view.isStale(this.#views.contextOf(view))) updates.push(this.#views.nextUpdate(view));
    } finally {
      for (const update of updates) this.#post(update);
    }
    if (seen.some(({ selection }) => selection.stores.some(({ ended }) => !ended))) this.#post({ op: "clock", now: this.#tasks.now() });
  }

  #searchSlice(): void {
    if (this.#searching) return;
    let more = false;
    for (const view of this.#views.all.values()) {
      if (view.selection.unsearched === 0 && view.selection.finder.unsearched === 0) continue;
      more = view.selection.search(this.#guarded) || more;
      this.#views.refresh(view);
    }
    if (!more) return;
    this.#searching = true;
    enqueue(() => {
      this.#searching = false;
      this.#searchSlice();
    });
  }

  #coverWindow(view: View): void {
    const { now, live } = this.#views.contextOf(view);
    this.#loader.coverWindow(view.selection.stores, view.window.length(now), view.window.start(now, live, view.viewport.follow));
  }

  changed(): void {
    this.#views.changed();
  }
}

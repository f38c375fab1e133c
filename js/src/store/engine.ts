/** The store's side of the page: messages in, views out. Runs in a worker, or in the page where workers are forbidden. */

import type { FromStore, ToStore } from "../types/messages.ts";
import { goalOf, Seeking } from "./asking/seeking.ts";
import { Clock } from "./holding/clock.ts";
import { copied } from "./drawing/copy.ts";
import type { Watcher } from "./holding/watcher.ts";
import { Tasks } from "./holding/held.ts";
import { Holdings } from "./holding/holdings.ts";
import { Loader } from "./holding/loader.ts";
import { Surveys } from "./holding/surveys.ts";
import { Links } from "./holding/links.ts";
import type { TaskStore } from "./holding/store.ts";
import { View } from "./drawing/view.ts";
import { soon, Views } from "./views.ts";

const KEEP = 5000;
/** After so long without another key a filter is asked of the server. */
const TYPED = 400;
const TICK = 1000;
/** Ticks that are so far apart: the machine slept. */
const SLEPT = 30_000;

export class Engine implements Watcher {
  #ticked = Date.now();
  readonly #clock = new Clock();
  readonly #tasks = new Tasks(this.#clock);
  readonly #views: Views;
  readonly #loader: Loader = new Loader(this.#tasks, this, (task, problem) => this.#holdings.onPlaceLost(task, problem));
  readonly #seeker: Seeking;
  readonly #surveys = new Surveys(this.#tasks, this);
  readonly #holdings = new Holdings(this.#tasks, this.#loader, this.#surveys, this.#clock, this);
  readonly #links: Links;
  #searching = false;
  #seeking: ReturnType<typeof setTimeout> | undefined;
  readonly #tick: ReturnType<typeof setInterval>;

  constructor(
    private readonly post: (message: FromStore) => void,
    /** Whether a watchdog can end us when a regex runs away. */
    private readonly guarded: boolean,
    fetcher?: typeof fetch,
  ) {
    this.#views = new Views(post, this.#clock, this.#tasks);
    this.#views.loader = this.#loader;
    this.#seeker = new Seeking(this.#views, this.#tasks, this.#loader, this);
    const actions = {
      send: (model: string, message: Record<string, unknown>) => post({ op: "send", model, message }),
      headers: () => post({ op: "headers" }),
      changed: () => this.changed(),
      arrived: () => this.#views.arrived(),
    };
    this.#links = this.#tasks.links = new Links(this.#holdings, this.#clock, actions, fetcher);
    this.#tick = setInterval(() => this.#second(), TICK);
  }

  stop(): void {
    clearInterval(this.#tick);
    clearTimeout(this.#seeking);
    for (const view of this.#views.all.values()) {
      view.search?.stop();
      view.beyond?.stop();
    }
    this.#views.charts.close();
    this.#links.close();
  }

  receive(message: ToStore): void {
    const links = this.#links;
    switch (message.op) {
      case "config":
        links.config = message.config;
        break;
      case "subscribe":
        links.sessions.set(message.model, message);
        for (const task of message.tasks) this.#tasks.hold(task);
        links.assign();
        break;
      case "unsubscribe":
        links.sessions.delete(message.model);
        links.assign();
        setTimeout(() => this.#tasks.release(links.wanted), KEEP);
        break;
      case "comm":
        links.receive(message.model, message.message, message.bytes);
        break;
      case "view":
        this.#views.all.set(message.view, new View(message.view, message.model, this.#views.storesOf(message.model), message.filter, message.look));
        this.#views.all.get(message.view)!.seen = message.seen ?? true;
        this.#refold(this.#views.all.get(message.view)!);
        this.#views.chart();
        this.#views.refresh(this.#views.all.get(message.view));
        this.#search();
        break;
      case "close":
        this.#views.all.get(message.view)?.search?.stop();
        this.#views.all.get(message.view)?.beyond?.stop();
        this.#views.all.delete(message.view);
        this.#views.chart();
        break;
      case "retry":
        for (const task of links.tasksOf(message.model)) {
          const held = this.#tasks.get(task);
          if (held) held.problem = null;
          links.of(task)?.link.retry();
        }
        break;
      case "wake":
        links.wake();
        break;
      case "ping":
        this.post({ op: "pong" });
        break;
      default:
        this.#forView(message);
    }
  }

  #forView(message: Extract<ToStore, { view: string }>): void {
    const view = this.#views.all.get(message.view);
    if (view === undefined) return;
    // Whatever else the reader wants: the next is not what is waited for any more.
    if (["filter", "find", "jump"].includes(message.op) || (message.op === "look" && message.look.follow)) {
      view.beyond?.stop();
      view.beyond = view.goal = null;
    }
    if (message.op === "filter") {
      view.refilter(message.filter);
      this.#refold(view);
      for (const task of this.#links.tasksOf(view.model)) this.#tasks.hold(task).autoPages = 0;
      this.#search();
      this.#cover(view);
      this.#seeker.endSearch(view);
      clearTimeout(this.#seeking);
      this.#seeking = setTimeout(() => this.#seeker.seek(), TYPED);
    } else if (message.op === "look") {
      if (message.look.follow && !view.look.follow) view.window.extended = false;
      if (message.look.follow || message.look.seek === null) view.aim.seek = null;
      view.look = message.look;
    } else if (message.op === "ack" || message.op === "sight") {
      if (message.op === "ack") view.waiting = false;
      else view.seen = message.seen;
      if (view.dirty) this.#views.flush(view);
      if (view.charted) this.#views.charts.read();
      return;
    } else if (message.op === "older") {
      view.window.extended = true;
      this.#seeker.endSearch(view);
      for (const store of view.selection.stores) {
        const head = store.spans.find(({ from }) => from === -Infinity);
        void (head ? this.#loader.back(store.task, head) : this.#loader.older(store.task));
      }
    } else if (message.op === "hole") {
      const store = view.selection.stores[view.selection.slotOf(message.id)];
      const row = view.selection.rowOf(message.id);
      if (store) void this.#loader.on(store.task, store.spans.find((span) => span.row === row));
    } else if (message.op === "search") {
      if (message.go) view.search?.go();
      else view.search?.stop();
    } else if (message.op === "fold") view.selection.toggle(message.id);
    else if (message.op === "copy") {
      this.post({ op: "text", ask: message.ask, text: copied(view.selection, view.between(message.from, message.to), message.as) });
      return;
    } else if (message.op === "find") {
      view.selection.finder.set(message.term);
      this.#search();
    } else if (message.op === "chart") {
      view.charted = view.chartDue = message.on;
      this.#views.chart();
    } else if (message.op === "jump") {
      if (!this.#seeker.goBeyond(view, message.jump) && !view.jump(this.#seeker.near(view, message.jump))) return;
    } else if (message.op === "text") {
      const store = view.selection.stores[view.selection.slotOf(message.id)];
      this.post({ op: "text", ask: message.ask, text: store?.texts[view.selection.rowOf(message.id)] ?? "" });
      return;
    }
    this.#views.refresh(view);
  }

  /** A task's lines are folded for all its viewers alike: as far as any of them asks. */
  #refold(asking: View): void {
    for (const store of asking.selection.stores) {
      const views = [...this.#views.all.values()].filter(({ selection }) => selection.stores.includes(store));
      const same = (["masked", "exact"] as const).find((one) => views.some(({ selection }) => selection.filter.same === one)) ?? "";
      if (store.folds.same === same) continue;
      store.refold(same);
      for (const { selection } of views) selection.reload();
    }
  }

  // What the holdings tell

  taken(store: TaskStore, before: number): void {
    for (const view of this.#views.all.values()) view.selection.leave(store);
    store.folds.settle();
    for (const view of this.#views.all.values()) {
      if (!view.selection.stores.includes(store)) continue;
      view.dirty = true;
      view.selection.take(store, before, store.rows);
      const goal = goalOf(view);
      if (goal?.store !== store || !store.isHere(goal.seq)) continue;
      view.beyond = view.goal = null;
      view.jump({ to: "seq", task: store.task, seq: goal.seq });
    }
    this.#search();
    this.#views.charts.read();
  }

  dropped(store: TaskStore, row: number): void {
    for (const view of this.#views.all.values()) view.selection.drop(store, row);
  }

  thinned(store: TaskStore): void {
    for (const { selection } of this.#views.all.values()) if (selection.stores.includes(store)) selection.thin();
  }

  /** The views are made anew: their rows have other numbers. */
  moved(store: TaskStore, rows: Int32Array): void {
    this.#views.charts.moved(store, rows);
    for (const view of this.#views.all.values()) {
      const { look, selection } = view;
      const slot = selection.stores.indexOf(store);
      if (slot === -1) continue;
      const mine = look.anchor !== null && look.anchor >= 0 && selection.slotOf(look.anchor) === slot;
      const anchor = mine ? rows[selection.rowOf(look.anchor!)] : -1;
      const anew = view.renew(selection.stores, mine ? { ...look, anchor: anchor < 0 ? null : selection.idOf(slot, anchor) } : look);
      this.#views.all.set(view.id, anew);
    }
  }

  placesIn(store: TaskStore): number[] {
    return [...this.#views.all.values()].filter(({ selection }) => selection.stores.includes(store)).map((view) => view.placeTime()).filter((time) => time !== null);
  }

  paged(store: TaskStore): void {
    for (const view of this.#views.all.values()) if (view.selection.stores.includes(store)) this.#cover(view);
  }

  windowOf(store: TaskStore): number {
    return Math.max(0, ...[...this.#views.all.values()].filter(({ selection }) => selection.stores.includes(store)).map(({ selection }) => selection.filter.since ?? 0));
  }

  renewed(tasks: string[], begin: () => void): void {
    const places = new Map([...this.#views.all.values()].map((view) => [view.id, view.aim.seek ?? view.placeTime()]));
    begin();
    for (const view of this.#views.all.values()) {
      const { look, selection, model, id } = view;
      if (!selection.stores.some((store) => tasks.includes(store.task))) continue;
      view.beyond?.stop();
      const anew = view.renew(this.#views.storesOf(model), { ...look, anchor: null });
      anew.beyond = null;
      anew.selection.finder.set(view.selection.finder.term);
      anew.aim.seek = look.follow ? null : (places.get(id) ?? null);
      this.#views.all.set(id, anew);
      if (anew.aim.seek !== null) for (const task of tasks) this.#holdings.reachBack(task, anew.aim.seek);
    }
    this.#views.chart();
    this.changed();
  }

  #second(): void {
    const slept = Date.now() - this.#ticked > SLEPT;
    this.#ticked = Date.now();
    if (slept) this.#links.wake();
    const seen = [...this.#views.all.values()].filter((view) => view.seen);
    this.#surveys.second(new Set(seen.flatMap(({ selection }) => selection.stores)));
    this.#seeker.seek();
    for (const view of seen) this.#seeker.fetch(view);
    for (const { wish } of seen) if (wish) void this.#loader.look(wish.store.task, wish);
    // All are drawn in one frame.
    for (const update of seen.filter((view) => !view.waiting && view.isStale(this.#views.surroundings(view))).map((view) => this.#views.next(view))) this.post(update);
    if (seen.some(({ selection }) => selection.stores.some(({ ended }) => !ended))) this.post({ op: "clock", now: this.#tasks.now() });
  }

  #search(): void {
    if (this.#searching) return;
    let more = false;
    for (const view of this.#views.all.values()) {
      if (view.selection.unsearched === 0 && view.selection.finder.unsearched === 0) continue;
      more = view.selection.search(this.guarded) || more;
      this.#views.refresh(view);
    }
    if (!more) return;
    this.#searching = true;
    soon(() => {
      this.#searching = false;
      this.#search();
    });
  }

  #cover(view: View): void {
    const { now, live } = this.#views.surroundings(view);
    this.#loader.cover(view.selection.stores, view.selection.filter.since, view.window.begin(now, live, view.look.follow));
  }

  changed(): void {
    this.#views.changed();
  }
}

/** One view: the strips together, and the store's updates drawn once a frame. */

import type { Hub, ViewSide } from "../store/client.ts";
import type { Jump, SourceSummary, Update } from "../types.ts";
import { h, setFlag } from "./dom.ts";
import { Display, SAME } from "./display.ts";
import { dress } from "./dress.ts";
import { FilterBar } from "./filterbar.ts";
import { Header } from "./header.ts";
import { type Action, actionOf, helpPanel } from "./keys.ts";
import { labels } from "./names.ts";
import { EmptyPanel, ProblemBar } from "./panel.ts";
import type { Label } from "./row.ts";
import { Rows } from "./rows.ts";
import type { Session } from "./session.ts";
import { FONTS, TIMES } from "./settings.ts";
import { Sources } from "./sources.ts";
import { StatusBar } from "./status.ts";
import { Taking } from "./taking.ts";
import { TimeBar } from "./timebar.ts";

const NARROW = 620;
/** Least time between two acknowledgements: about two updates a frame. */
const ACK_AGAIN = 8;
/** Height of a row over the size of its text, as 19 px over 12. */
const LEADING = 19 / 12;

export class Viewer {
  readonly root = h("div", { class: "cortex-logs", "data-lm-suppress-shortcuts": "true" });
  #header: Header;
  #filterBar: FilterBar;
  #timeBar: TimeBar;
  #sourceList: Sources;
  #rows: Rows;
  #status: StatusBar;
  #empty: EmptyPanel;
  #problem: ProblemBar;
  #help: HTMLElement;
  #taking: Taking;
  readonly #display: Display;
  #labels: Label[] = [];
  #labelsOf = "";
  #sources: SourceSummary[] = [];
  #pending: Update | undefined;
  #drawn: Update | undefined;
  #frame = 0;
  #visible = true;
  #held = false;
  #acking: ReturnType<typeof setTimeout> | undefined;
  #ackedAt = 0;
  #view = "";
  #side: ViewSide | undefined;
  #observers: { disconnect(): void }[] = [];

  constructor(
    private readonly hub: Hub,
    private readonly session: Session,
  ) {
    const change = session.change.bind(session);
    this.#rows = new Rows({
      label: (source) => this.#labels[source],
      older: () => this.#older(),
      hole: (id) => hub.hole(this.#view, id),
      fold: (id) => hub.fold(this.#view, id),
      search: (go) => hub.search(this.#view, go),
      text: (id) => hub.text(this.#view, id),
      resized: () => this.#rows.draw(),
      tree: {
        get chosen() {
          return session.settings.filter.fields;
        },
        choose: (field) => session.chooseField(field),
        filter: (condition) => session.addFilter(condition),
      },
      look: (look) => {
        if (this.#side) this.#side.look = look;
        hub.look(this.#view, look);
      },
      followed: (follow) => this.#followed(follow),
      reachedTop: () => this.#drawn && !this.#drawn.loading && this.#drawn.rows[0]?.text === "Older lines" && this.#older(),
      dress: (element, row, before) => dress(element, row, before, {
        time: session.settings.time,
        start: this.#header.start || this.#timeBar.from || row.time,
        levels: session.settings.columns.includes("level"),
        note: (one) => this.#taking.noteOf(one),
      }),
    });
    this.#taking = new Taking(this.#rows, session, {
      task: (source) => this.#sources[source]?.task ?? session.tasks[0] ?? "",
      copy: (from, to, as) => hub.copy(this.#view, from, to, as),
      jump: (to) => this.#jump(to),
      now: () => this.#drawn?.now ?? Date.now(),
      complain: (message) => this.#problem.complain(message),
    });
    this.#header = new Header({ fullScreen: () => this.#fullScreen(), help: () => this.#toggleHelp(), complain: (message) => this.#problem.complain(message), act: (action) => this.#act(action), bookmarks: () => this.#taking.items(), settings: () => session.settings });
    this.#display = new Display(() => session.settings, change);
    this.#filterBar = new FilterBar({
      change,
      find: (term) => hub.find(this.#view, term),
      search: (go) => hub.search(this.#view, go),
      step: (by) => this.#jump({ to: "found", by, from: this.#rows.at?.id ?? null }),
      leave: () => this.#focus(),
    }, this.#display.element);
    this.#timeBar = new TimeBar(change, (time) => this.#jump({ to: "time", time }));
    this.#sourceList = new Sources((off) => change({ off, pod: "", container: "" }));
    this.#status = new StatusBar(() => this.#newest(), (from, to) => this.#taking.code(from, to));
    this.#empty = new EmptyPanel(() => this.#older());
    this.#problem = new ProblemBar(() => hub.retry(session.model));
    this.#help = helpPanel(() => this.#toggleHelp());
    const main = h("div", { class: "cl-main" }, this.#rows.element, this.#empty.element, this.#taking.prompt.element);
    const body = h("div", { class: "cl-body" }, this.#sourceList.element, main);
    this.root.append(this.#header.element, this.#timeBar.element, this.#filterBar.element, this.#problem.element, body, this.#taking.bar.element, this.#status.element, this.#grip(), this.#help);
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.settings();
    this.#side = {
      model: session.model,
      filter: session.settings.filter,
      look: { ...this.#rows.look(), ...(session.at === null ? {} : { follow: false, seek: session.at }) },
      find: "",
      update: (update) => this.#receive(update),
      regexStopped: () => session.regexStopped(),
    };
    this.#view = hub.addView(this.#side);
    if (!session.follow) this.#rows.setFollow(false);
    this.#observe();
  }

  /** The settings have changed, here or in another view of the same model, or in Python. */
  settings(): void {
    const { settings, height, tasks } = this.session;
    const { time, wrap, columns, fontSize } = settings;
    this.#header.tasks(tasks);
    this.#filterBar.show(settings);
    this.#display.show();
    this.#timeBar.show(settings.filter);
    this.#status.zone(time);
    this.root.style.setProperty("--height", `${height}px`);
    this.root.style.setProperty("--size", `${fontSize}px`);
    this.root.style.setProperty("--row", `${Math.round(fontSize * LEADING)}px`);
    setFlag(this.root, "cl-notime", time === "off");
    setFlag(this.root, "cl-levels", columns.includes("level"));
    this.#rows.setLooks(wrap, Math.round(fontSize * LEADING));
    this.#showLabels();
    if (this.#side && this.#side.filter !== settings.filter) {
      this.#side.filter = settings.filter;
      this.#rows.restyle();
      this.hub.filter(this.#view, settings.filter);
    } else this.#rows.draw();
  }

  /** Follows or pauses, from Python. */
  follow(follow: boolean): void {
    this.#rows.setFollow(follow);
  }

  stopFinding(): void {
    this.#filterBar.filter();
  }

  complain(message: string): void {
    this.#problem.complain(message);
  }

  close(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#acking);
    for (const observer of this.#observers) observer.disconnect();
    this.hub.closeView(this.#view);
    this.root.remove();
  }

  #observe(): void {
    if (typeof ResizeObserver === "function") {
      const resize = new ResizeObserver(() => {
        setFlag(this.root, "cl-narrow", this.root.clientWidth < NARROW);
        this.#rows.measure();
      });
      resize.observe(this.root);
      resize.observe(this.#rows.element);
      this.#observers.push(resize);
    }
    if (typeof IntersectionObserver === "function") {
      const seen = new IntersectionObserver((entries) => {
        this.#visible = entries[entries.length - 1].isIntersecting;
        if (this.#visible && this.#held) this.#schedule();
      });
      seen.observe(this.root);
      this.#observers.push(seen);
    }
    const shown = (): void => {
      if (!document.hidden && this.#held) this.#schedule();
    };
    document.addEventListener("visibilitychange", shown);
    this.#observers.push({ disconnect: () => document.removeEventListener("visibilitychange", shown) });
  }

  /** Nothing is drawn and nothing more is sent while nobody can see it; the store keeps all lines meanwhile. */
  #receive(update: Update): void {
    update.sources ??= this.#pending?.sources;
    update.histogram ??= this.#pending?.histogram;
    update.jump ??= this.#pending?.jump;
    this.#pending = update;
    if (this.#visible && !document.hidden) {
      this.#schedule();
    } else this.#held = true;
  }

  /** Not only after the frame: what arrives before it is drawn with it, a line must not wait for the frame after. */
  #ack(): void {
    const wait = Math.max(0, this.#ackedAt + ACK_AGAIN - performance.now());
    this.#acking ??= setTimeout(() => {
      this.#acking = undefined;
      this.#ackedAt = performance.now();
      this.hub.ack(this.#view);
    }, wait);
  }

  #schedule(): void {
    this.#held = false;
    this.#ack();
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      try {
        if (this.#pending) this.#draw(this.#pending);
      } catch (reason) {
        this.#problem.complain(`The viewer failed to draw: ${reason instanceof Error ? reason.message : String(reason)}`);
      }
      this.#pending = undefined;
    });
  }

  #draw(update: Update): void {
    if (update.sources) {
      this.#sources = update.sources;
      this.#sourceList.update(update.sources, update.now);
      this.#showLabels();
    }
    this.#drawn = update;
    this.session.opened(update.tasks);
    this.#rows.update(update);
    this.#header.update(update);
    this.#filterBar.update(update);
    this.#status.update(update, this.#rows.follow, this.#behind(update));
    this.#empty.update(update, this.session.settings.filter);
    this.#taking.update();
    this.#problem.show(update.problem, update.link === "stopped" || Boolean(update.problem?.task));
    if (update.histogram) this.#timeBar.draw(update.histogram, update.link !== "done");
    this.#place();
  }

  #showLabels(): void {
    const { columns } = this.session.settings;
    this.#labels = labels(this.#sources, columns);
    const shape = this.#labels.map(({ short, hue }) => `${short} ${hue}`).join("|");
    if (shape === this.#labelsOf) return;
    this.#labelsOf = shape;
    // As wide as the pods' names; a container's name behind it may be cut.
    const longest = Math.max(1, ...this.#labels.map(({ short }) => short.split(" ")[0].length));
    const several = this.#labels.some(({ short }) => short.includes(" "));
    this.root.style.setProperty("--src-w", `${Math.min(14, Math.max(longest, several ? 9 : 0))}ch`);
    setFlag(this.root, "cl-single", this.#labels.length < 2 || this.#labels.every(({ short }) => short === ""));
    this.#rows.restyle();
  }

  #place(): void {
    let first: number | null = null;
    let last: number | null = null;
    for (const { seq } of this.#rows.inSight) {
      if (first === null || seq < first) first = seq;
      if (last === null || seq > last) last = seq;
    }
    this.#status.place(first, last);
    this.#timeBar.sees(this.#rows.inSight[0]?.time, this.#rows.inSight.at(-1)?.time);
    this.session.sees(this.#sources, first, last, this.#rows.follow ? undefined : this.#rows.inSight[0]?.time);
  }

  #behind({ total, newest }: Update): { lines: number; time: number } {
    const last = this.#rows.inSight.at(-1);
    return { lines: total - this.#rows.place.index - Math.max(1, this.#rows.inSight.length), time: last === undefined ? 0 : newest - last.time };
  }

  #followed(follow: boolean): void {
    if (this.#drawn) this.#status.update(this.#drawn, follow, this.#behind(this.#drawn));
    this.session.keep("follow", follow);
  }

  #jump(to: Jump): void {
    this.hub.jump(this.#view, to);
  }

  #focus(): void {
    this.#rows.element.focus({ preventScroll: true });
  }

  #older(): void {
    if (this.#rows.follow && this.#rows.total > 1) this.#rows.setFollow(false);
    this.hub.older(this.#view);
  }

  #newest(): void {
    this.#rows.setFollow(true);
    this.#focus();
  }

  #toggleHelp(): void {
    this.#help.hidden = !this.#help.hidden;
    if (this.#help.hidden) this.#focus();
    else this.#help.querySelector("button")?.focus();
  }

  #fullScreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (this.root.requestFullscreen) void this.root.requestFullscreen().catch(() => this.root.classList.toggle("cl-full"));
    else this.root.classList.toggle("cl-full");
  }

  /** The lower edge, to be dragged or moved with the arrow keys: how high the viewer is. */
  #grip(): HTMLElement {
    const grip = h("div", { class: "cl-grip", role: "separator", "aria-orientation": "horizontal", "aria-label": "Height", tabindex: "0", title: "Drag to change the height" });
    const set = (height: number): void => {
      const bounded = Math.round(Math.max(200, Math.min(3000, height)));
      this.root.style.setProperty("--height", `${bounded}px`);
      this.session.keep("height", bounded);
    };
    grip.addEventListener("pointerdown", (down: PointerEvent) => {
      const [from, height] = [down.clientY, this.root.offsetHeight];
      grip.setPointerCapture(down.pointerId);
      const move = (event: PointerEvent): void => this.root.style.setProperty("--height", `${Math.max(200, height + event.clientY - from)}px`);
      grip.addEventListener("pointermove", move);
      grip.addEventListener("pointerup", () => {
        grip.removeEventListener("pointermove", move);
        set(this.root.offsetHeight);
      }, { once: true });
      down.preventDefault();
    });
    grip.addEventListener("keydown", (event) => {
      const by = { ArrowDown: 40, ArrowUp: -40 }[event.key];
      if (by === undefined) return;
      set(this.root.offsetHeight + by);
      event.preventDefault();
      event.stopPropagation();
    });
    return grip;
  }

  #key(event: KeyboardEvent): void {
    const { target } = event;
    const typing = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    const control = event.ctrlKey || event.metaKey;
    if (typing && event.key !== "Escape" && !(control && event.key === "f")) {
      // What is typed here is not a command of the notebook.
      event.stopPropagation();
      return;
    }
    const picks = event.shiftKey && !control && (event.key === "ArrowUp" || event.key === "ArrowDown");
    const action = picks ? undefined : actionOf(event);
    // What is in focus is pressed by the space bar and by Enter.
    if ([" ", "-", "Enter"].includes(event.key) && (target as Element).closest("button, a, summary")) return;
    if (action === undefined && !picks) return;
    event.preventDefault();
    event.stopPropagation();
    if (picks) this.#taking.move(event.key === "ArrowUp" ? -1 : 1);
    else this.#act(action!);
  }

  #act(action: Action): void {
    const { settings } = this.session;
    const change = this.session.change.bind(this.session);
    const at = this.#rows.at?.id ?? null;
    const act: Record<Action, () => void> = {
      filter: () => this.#filterBar.filter(),
      find: () => this.#filterBar.find(),
      next: () => this.#jump({ to: "found", by: 1, from: at }),
      previous: () => this.#jump({ to: "found", by: -1, from: at }),
      nextError: () => this.#jump({ to: "error", by: 1, from: at }),
      previousError: () => this.#jump({ to: "error", by: -1, from: at }),
      death: () => this.#jump({ to: "death" }),
      escape: () => this.#escape(),
      newest: () => this.#newest(),
      oldest: () => this.#rows.toTop(),
      follow: () => (this.#rows.follow ? this.#rows.setFollow(false) : this.#newest()),
      goto: () => this.#taking.goTo(),
      time: () => change({ time: TIMES[(TIMES.indexOf(settings.time) + 1) % TIMES.length] }),
      wrap: () => change({ wrap: !settings.wrap }),
      json: () => change({ pretty: !settings.filter.pretty }),
      open: () => this.#rows.openPicked(),
      same: () => change({ same: SAME[(SAME.findIndex(([same]) => same === settings.filter.same) + 1) % SAME.length][0] }),
      bigger: () => change({ fontSize: Math.min(FONTS.most, settings.fontSize + 1) }),
      smaller: () => change({ fontSize: Math.max(FONTS.least, settings.fontSize - 1) }),
      full: () => this.#fullScreen(),
      help: () => this.#toggleHelp(),
      mark: () => this.#taking.mark(),
      copy: () => this.#taking.copy("text"),
      copyCode: () => this.#taking.copy("code"),
      context: () => this.#taking.context(),
      sources: () => this.root.classList.toggle(this.root.classList.contains("cl-narrow") ? "cl-sources" : "cl-nosources"),
    };
    act[action]();
  }

  #escape(): void {
    if (!this.#help.hidden) this.#toggleHelp();
    else if (this.#taking.escape()) return;
    else if (this.#filterBar.finding) {
      this.#filterBar.filter();
      this.#focus();
    } else if (this.session.settings.filter.grep !== "") this.session.change({ grep: "" });
    else this.root.classList.remove("cl-full", "cl-sources");
  }
}

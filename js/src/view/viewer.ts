/** One view: the strips together, and what each update of the store and each change of the settings means to them. */

import type { Hub, ViewSide } from "../store/client.ts";
import type { Jump } from "../types/asked.ts";
import type { Update } from "../types/update.ts";
import type { SourceSummary } from "../types/summary.ts";
import { ChartPanel } from "./chartpanel.ts";
import { Commands } from "./commands.ts";
import { Display } from "./display.ts";
import { h, setFlag } from "./dom.ts";
import { dress } from "./dress.ts";
import { FilterBar } from "./filterbar.ts";
import { grip } from "./grip.ts";
import { Header } from "./header.ts";
import { labels, POD_ROOM } from "./names.ts";
import { Painter } from "./painter.ts";
import { EmptyPanel, ProblemBar } from "./panel.ts";
import type { Label } from "./row.ts";
import { Rows } from "./rows.ts";
import type { Session } from "./session.ts";
import { Sources } from "./sources.ts";
import { StatusBar } from "./status.ts";
import { Taking } from "./taking.ts";
import { TimeBar } from "./timebar.ts";

/** Lines between sources and a chart have room from so many px on. */
const BETWEEN = 800;
/** So wide, px, the side list becomes a menu; and here what is not needed all the time. */
const NARROW = 620;
const SLIM = 440;
/** Height of a row over the size of its text, as 19 px over 12. */
const LEADING = 19 / 12;

export class Viewer {
  readonly root = h("div", { class: "cortex-logs", "data-lm-suppress-shortcuts": "true" });
  #header: Header;
  #filterBar: FilterBar;
  #timeBar: TimeBar;
  #sourceList: Sources;
  #rows: Rows;
  #chart: ChartPanel;
  #status: StatusBar;
  #empty: EmptyPanel;
  #problem: ProblemBar;
  #taking: Taking;
  #commands: Commands;
  #painter: Painter;
  readonly #display: Display;
  #labels: Label[] = [];
  #labelsOf = "";
  #sources: SourceSummary[] = [];
  #drawn: Update | undefined;
  #view = "";
  #side: ViewSide | undefined;
  #resize: ResizeObserver | undefined;

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
      // A stretch that was chosen is left by a click alone, or few lines of it would bring all others.
      reachedOldest: () => session.settings.filter.from === null && this.#drawn && !this.#drawn.loading && this.#drawn.rows.at(this.#drawn.newestFirst ? -1 : 0)?.text === "Older lines" && this.#older(),
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
    this.#header = new Header({ origin: session.origin, complain: (message) => this.#problem.complain(message), act: (action) => this.#commands.act(action), bookmarks: () => this.#taking.items(), settings: () => session.settings, sources: () => this.#sources });
    this.#display = new Display(() => session.settings, change);
    this.#filterBar = new FilterBar({
      change,
      find: (term) => hub.find(this.#view, term),
      search: (go) => hub.search(this.#view, go),
      step: (by) => this.#jump({ to: "found", by, from: this.#rows.at?.id ?? null }),
      leave: () => this.#commands.focus(),
    }, this.#display.element);
    this.#timeBar = new TimeBar(change, (time) => this.#jump({ to: "time", time }));
    this.#sourceList = new Sources((off) => change({ off, pod: "", container: "", run: "" }), (time) => this.#jump({ to: "time", time }));
    this.#chart = new ChartPanel(change, (to) => this.#jump(to));
    this.#status = new StatusBar(() => this.#commands.act("newest"), (from, to) => this.#taking.code(from, to));
    this.#empty = new EmptyPanel(() => this.#older());
    this.#problem = new ProblemBar(() => hub.retry(session.model));
    this.#commands = new Commands(this.root, session, { rows: this.#rows, filterBar: this.#filterBar, taking: this.#taking, jump: (to) => this.#jump(to) });
    const main = h("div", { class: "cl-main" }, this.#rows.element, this.#empty.element, this.#taking.prompt.element);
    const body = h("div", { class: "cl-body" }, this.#sourceList.element, main, this.#chart.element);
    this.root.append(this.#header.element, this.#timeBar.element, this.#filterBar.element, this.#problem.element, body, this.#taking.bar.element, this.#status.element, grip(this.root, (height) => session.keep("height", height)), this.#commands.help);
    this.#painter = new Painter(this.root, { draw: (update) => this.#draw(update), ack: () => hub.ack(this.#view), sight: (seen) => hub.sight(this.#view, seen), complain: (message) => this.#problem.complain(message) });
    this.settings();
    this.#side = {
      model: session.model,
      filter: session.settings.filter,
      look: { ...this.#rows.look(), ...(session.at === null ? {} : { follow: false, seek: session.at }) },
      find: "",
      chart: false,
      seen: true,
      update: (update) => this.#painter.receive(update),
      clock: (now) => this.#clock(now),
      regexStopped: () => session.regexStopped(),
    };
    this.#view = hub.addView(this.#side);
    hub.chart(this.#view, session.settings.chart !== "");
    if (!session.follow) this.#rows.setFollow(false);
    this.#observe();
  }

  /** The settings have changed, here or in another view of the same model, or in Python. */
  settings(): void {
    const { settings, height, tasks } = this.session;
    const { time, wrap, columns, newestFirst, fontSize } = settings;
    const refilters = this.#side !== undefined && this.#side.filter !== settings.filter;
    if (refilters) {
      // First: while the rest is drawn here, the store searches.
      this.#side!.filter = settings.filter;
      this.hub.filter(this.#view, settings.filter);
    }
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
    setFlag(this.root, "cl-charted", settings.chart !== "");
    this.#chart.show(settings);
    if (this.#side) this.hub.chart(this.#view, this.#chart.on);
    this.#rows.setOrder(newestFirst);
    this.#rows.setLooks(wrap, Math.round(fontSize * LEADING));
    this.#showLabels();
    if (refilters) this.#rows.restyle();
    else this.#rows.draw();
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
    this.#painter.close();
    this.#resize?.disconnect();
    this.#rows.close();
    this.hub.closeView(this.#view);
    this.root.remove();
  }

  #observe(): void {
    if (typeof ResizeObserver !== "function") return;
    this.#resize = new ResizeObserver(() => {
      setFlag(this.root, "cl-narrow", this.root.clientWidth < NARROW);
      setFlag(this.root, "cl-tight", this.root.clientWidth < BETWEEN);
      setFlag(this.root, "cl-slim", this.root.clientWidth < SLIM);
      this.#rows.measure();
      this.#chart.draw();
    });
    this.#resize.observe(this.root);
    this.#resize.observe(this.#rows.element);
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
    this.#chart.update(update.chart, update.histogram, this.#sources, this.#labels);
    this.#place();
  }

  /** Time has passed: only words that count up can be others. */
  #clock(now: number): void {
    if (this.#drawn === undefined || !this.#painter.seen) return;
    const drawn = (this.#drawn = { ...this.#drawn, now });
    this.#header.clock(drawn);
    this.#sourceList.now = now;
    this.#status.state(drawn, this.#rows.follow, this.#behind(drawn));
    this.#empty.say(drawn, this.session.settings.filter);
  }

  #showLabels(): void {
    const { columns } = this.session.settings;
    this.#labels = labels(this.#sources, columns);
    // Those whose lines are hidden need no room.
    const seen = this.#sources.some(({ on }) => on) ? this.#labels.filter((_unused, i) => this.#sources[i]?.on) : this.#labels;
    const shape = `${this.#labels.map(({ short, hue }) => `${short} ${hue}`).join("|")} ${seen.map(({ short }) => short).join("|")}`;
    if (shape === this.#labelsOf) return;
    this.#labelsOf = shape;
    // As wide as the pods' names; of a container's name behind it the beginning.
    const longest = Math.max(1, ...seen.map(({ short }) => short.split(" ")[0].length));
    const several = seen.some(({ short }) => short.includes(" "));
    const pod = Math.min(POD_ROOM, longest);
    this.root.style.setProperty("--src-w", `${several ? Math.max(9, pod + 5) : pod}ch`);
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
    const { newestFirst, place, inSight } = this.#rows;
    const last = inSight.at(newestFirst ? 0 : -1);
    return { lines: newestFirst ? place.index : total - place.index - Math.max(1, inSight.length), time: last === undefined ? 0 : newest - last.time };
  }

  #followed(follow: boolean): void {
    if (this.#drawn) this.#status.update(this.#drawn, follow, this.#behind(this.#drawn));
    this.session.keep("follow", follow);
  }

  #jump(to: Jump): void {
    this.hub.jump(this.#view, to);
  }

  #older(): void {
    if (this.#rows.follow && this.#rows.total > 1) this.#rows.setFollow(false);
    this.hub.older(this.#view);
  }
}

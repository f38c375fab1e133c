/** One view: creates its parts, and passes updates of the worker and changes of the settings on to them. */

import type { Problem } from "../protocol/events.ts";
import type { Jump } from "../protocol/requests.ts";
import type { ContainerSummary, Row, SavedView, Update } from "../protocol/update.ts";
import { formatWeekday, isSameDay } from "../text/format.ts";
import { visibleText } from "../text/ansi.ts";
import { errorMessage } from "../text/format.ts";
import { ALL_SOURCES } from "../text/sources.ts";
import { readPageConfig, readProblem, RequestError, taskPath, withOrigin } from "../transport/http.ts";
import { bellKey, type Session } from "../client/session.ts";
import { describeFilter } from "../client/settings.ts";
import type { StoreClient, ViewEntry } from "../client/storeclient.ts";
import type { ChartPanel } from "./chartpanel.ts";
import { Commands } from "./commands.ts";
import { DisplayMenu } from "./display.ts";
import { h, setClass } from "./dom.ts";
import { FieldColumns } from "./fieldcolumns.ts";
import { FilterBar } from "./filterbar.ts";
import { Header } from "./header.ts";
import { LineActions } from "./lineactions.ts";
import type { CopiedLine } from "./markdown.ts";
import { Painter } from "./painter.ts";
import { fillOnDemand, type LoadPanels, type Panels, PanelSlot } from "./panelslot.ts";
import type { PatternPanel } from "./patternpanel.ts";
import type { RankList } from "./ranklist.ts";
import { decorateRow, type SourceLabel } from "./row.ts";
import type { Divider } from "./rowpool.ts";
import { Rows } from "./rows.ts";
import { SavedFilters } from "./savedfilters.ts";
import { SourceList } from "./sourcelist.ts";
import { POD_CHARS, sourceLabels } from "./sourcenames.ts";
import { EmptyPanel, type Lag, ProblemBar, StatusBar } from "./status.ts";
import { TimeBar } from "./timebar.ts";

/** Number of lines that a notebook saves. */
const SAVED_LINES = 200;
/** Number of lines that are shown as plain text where the store cannot run. */
const FALLBACK_LINES = 1000;
/** In a viewer narrower than this (px), a chart replaces the list of sources. */
const TIGHT_PX = 800;
/** In a viewer narrower than this (px), the list of sources becomes a menu. */
const NARROW_PX = 620;
/** In a viewer narrower than this (px), secondary controls are hidden. */
const SLIM_PX = 440;
/** Height of a row relative to its font size: 19 px to 12 px. */
const LEADING = 19 / 12;
/** If several texts are sought: hues for the matches of all texts except the first, which has the usual colour. */
const MARK_HUES = [200, 330, 145, 280];
/** After an absence of this length (ms), the first line that came during it has a divider above it. */
const AWAY_MS = 10_000;

export class Viewer {
  readonly root = h("div", { class: "cortex-logs" });
  #header: Header;
  #filterBar: FilterBar;
  #timeBar: TimeBar;
  #sourceList: SourceList;
  #rows: Rows;
  readonly #columns: FieldColumns;
  #chart: PanelSlot<ChartPanel>;
  /** The newest data of the chart. An update has only what has changed. */
  #chartData: Pick<Update, "chart" | "histogram"> = {};
  #patterns: PanelSlot<PatternPanel>;
  /** The ranks, which the chart and the panel of patterns show. */
  #ranks: RankList | undefined;
  #status: StatusBar;
  #empty: EmptyPanel;
  #problem: ProblemBar;
  #lineActions: LineActions;
  #commands: Commands;
  #painter: Painter;
  readonly #displayMenu: DisplayMenu;
  #labels: SourceLabel[] = [];
  /** The properties of the labels on which the layout depends. */
  #drawnState = "";
  #sources: ContainerSummary[] = [];
  #drawn: Update | undefined;
  /** The newest line that the user saw, and when the user left it (ms): by scrolling, or by hiding the viewer. */
  #seen: { line: number; at: number } | undefined;
  /** The user's last absence: the times of the lines that came during it (ms). */
  #absence = { from: 0, to: 0 };
  #view = "";
  #isLinkFollowed = false;
  /** What to do once the viewer is in sight. */
  #whenVisible: (() => void) | undefined;
  #entry: ViewEntry | undefined;
  readonly #sourceGrip = this.#makeSourceGrip();
  #resize: ResizeObserver | undefined;

  readonly #store: StoreClient;
  readonly #session: Session;
  readonly #loadPanels: LoadPanels;

  constructor(
    store: StoreClient,
    session: Session,
    loadPanels: LoadPanels,
  ) {
    this.#store = store;
    this.#session = session;
    this.#loadPanels = loadPanels;
    const change = session.change.bind(session);
    this.#columns = new FieldColumns(this.root, (field) => session.chooseField(field));
    this.#rows = new Rows({
      label: (source) => this.#labels[source],
      markHue: (text) => MARK_HUES[(this.#filterBar.texts.indexOf(text.toLowerCase()) - 1) % MARK_HUES.length],
      loadOlder: () => this.#loadOlder(),
      loadSpan: (id) => store.loadSpan(this.#view, id),
      toggleFold: (id) => store.toggleFold(this.#view, id),
      search: (go) => store.search(this.#view, go),
      fullText: (id) => store.fullText(this.#view, id),
      resized: () => this.#rows.draw(),
      tree: {
        get chosen() {
          return session.settings.filter.fields;
        },
        choose: (field) => session.chooseField(field),
        filter: (condition) => session.addFilter(condition),
      },
      setViewport: (viewport) => {
        if (this.#entry) this.#entry.viewport = viewport;
        store.setViewport(this.#view, viewport);
      },
      followChanged: (follow) => this.#followChanged(follow),
      // Do not load older lines than a chosen range has: a range of few lines would load the whole log.
      reachedOldest: () => session.settings.filter.from === null && this.#drawn && !this.#drawn.loading && this.#drawn.rows.at(this.#drawn.newestFirst ? -1 : 0)?.text === "Older lines" && this.#loadOlder(),
      decorate: (element, row, before) => decorateRow(element, row, before, {
        time: session.settings.time,
        start: this.#header.start || this.#timeBar.from || row.time,
        levels: session.settings.columns.includes("level"),
        note: (one) => this.#lineActions.noteOf(one),
      }),
      divider: (row, above) => this.#divider(row, above),
    });
    this.#lineActions = new LineActions(this.#rows, session, {
      task: (source) => this.#sources[source]?.task ?? session.tasks[0] ?? "",
      copy: (from, to, as) => (as === "markdown" ? this.#copyMarkdown(from, to) : store.copy(this.#view, from, to, as)),
      addressOf: ({ source, seq, time }) => this.#addressOf(this.#sources[source]?.task, seq, time),
      jump: (to) => this.#jump(to),
      now: () => this.#drawn?.now ?? Date.now(),
      showError: (message) => this.#problem.showError(message),
    });
    this.#header = new Header({ origin: session.origin, transport: () => session.transport, downloads: session.downloads, showError: (message) => this.#problem.showError(message), act: (action) => this.#commands.act(action), ring: () => void this.#loadBell(true), bookmarks: () => this.#lineActions.bookmarkItems(), settings: () => session.settings, sources: () => this.#sources });
    const saved = h("dialog", { class: "cl-help", popover: "auto", "aria-label": "Saved filters", autofocus: true, tabindex: "-1" });
    const savedFilters = new SavedFilters(() => session.settings, change);
    fillOnDemand(saved, loadPanels, ({ savedFiltersPanel }) => savedFiltersPanel(saved, savedFilters));
    this.#displayMenu = new DisplayMenu(() => session.settings, change, (by, ofSources) => {
      if (ofSources) this.#setSourceWidth(this.#toCharacters(this.#sourceGrip.parentElement!.offsetWidth) + by);
      else this.#setHeight(this.root.offsetHeight + by);
    }, savedFilters, () => saved.showPopover());
    this.#filterBar = new FilterBar({
      change,
      find: (term) => {
        store.setFind(this.#view, term);
        // The colours of the marks depend on the order of the texts.
        this.#rows.restyle();
      },
      search: (go) => store.search(this.#view, go),
      step: (by) => this.#jump({ to: "match", by, from: this.#rows.current?.id ?? null }),
      focusLines: () => this.#commands.focus(),
    }, this.#displayMenu.element);
    this.#timeBar = new TimeBar(change, (time) => this.#jump({ to: "time", time }), () => this.#lineActions.chooseWindow());
    this.#sourceList = new SourceList((off) => change({ off, ...ALL_SOURCES }), (time) => this.#jump({ to: "time", time }));
    this.#chart = new PanelSlot("Chart of the metrics", "cl-panel cl-chart", loadPanels, (panels) => {
      const panel = new panels.ChartPanel(this.#rankList(panels), change, (to) => this.#jump(to), (...question) => this.#lineActions.prompt.ask(...question));
      panel.show(session.settings);
      panel.update(this.#chartData, this.#sources, this.#labels);
      return panel;
    }, () => change({ chart: "" }));
    this.#patterns = new PanelSlot("Patterns and fields", "cl-panel cl-pats", loadPanels, (panels) => {
      const panel = new panels.PatternPanel(session, this.#rankList(panels));
      panel.show(session.settings);
      if (this.#drawn) panel.update(this.#drawn);
      return panel;
    }, () => change({ panel: "" }));
    this.#status = new StatusBar(() => this.#commands.act("newest"), (from, to) => this.#lineActions.copyCode(from, to));
    this.#empty = new EmptyPanel(() => this.#loadOlder(), (text) => this.#filterBar.edit(text));
    this.#problem = new ProblemBar(() => store.retry(session.model));
    this.#commands = new Commands(this.root, session, { rows: this.#rows, filterBar: this.#filterBar, lineActions: this.#lineActions, jump: (to) => this.#jump(to) }, loadPanels);
    const main = h("div", { class: "cl-main" }, this.#columns.element, this.#rows.element, this.#rows.tickBar.element as unknown as Node, this.#empty.element, this.#lineActions.prompt.element);
    const body = h("div", { class: "cl-body" }, this.#sourceList.element, main, this.#chart.element, this.#patterns.element);
    this.root.append(this.#header.element, this.#timeBar.element, this.#filterBar.element, this.#problem.element, body, this.#lineActions.pickBar.element, this.#status.element, makeGrip("cl-grip", "Drag to change the height", "clientY", () => this.root.offsetHeight, (px) => this.root.style.setProperty("--height", `${Math.max(MIN_HEIGHT_PX, px)}px`), (px) => this.#setHeight(px)), this.#commands.help, saved);
    this.#rows.addGrip(this.#sourceGrip);
    this.#header.help.popoverTargetElement = this.#commands.help;
    this.#painter = new Painter(this.root, { draw: (update) => this.#draw(update), ack: () => store.ack(this.#view), visibilityChanged: (visible) => this.#visibilityChanged(visible), showError: (message) => this.#problem.showError(message) });
    this.settings();
    this.#entry = {
      model: session.model,
      filter: session.settings.filter,
      viewport: { ...this.#rows.viewport(), ...(session.readerTime !== null && { follow: false }) },
      find: "",
      hasChart: false,
      isVisible: true,
      update: (update) => this.#painter.receive(update),
      readerTime: () => (this.#drawn === undefined ? session.readerTime : (this.#rows.visibleRows[0]?.time ?? null)),
      clock: (now) => this.#clock(now),
      regexStopped: (find) => session.regexStopped(find),
      storeFailed: (problem) => void this.#fallBack(problem),
      chartFailed: (reason) => this.chartFailed(reason),
    };
    this.#view = store.addView(this.#entry);
    store.showChart(this.#view, session.settings.chart !== "");
    if (!session.follow) this.#rows.setFollow(false);
    if (hasStoredBell(session.tasks)) void this.#loadBell(false);
    this.#observe();
    // JupyterLab's extension requests the view when it saves the notebook (hosts/savedoutput.ts).
    this.root.addEventListener("cortex-logs-save", (event) => {
      if (this.#drawn !== undefined) (event as CustomEvent<(view: Promise<SavedView>) => void>).detail(this.#savedView(this.#drawn));
    });
  }

  /** Return the edge of the column of sources. It is as wide as a character, so that its size is the unit of the column's. */
  #makeSourceGrip(): HTMLElement {
    const column = (): number => this.#sourceGrip.parentElement!.offsetWidth;
    const grip = makeGrip("cl-grip-x", "Drag to change the width, double-click for the usual one", "clientX", column, (px) => this.#showSourceWidth(this.#toCharacters(px)), (px) => this.#setSourceWidth(this.#toCharacters(px)));
    grip.addEventListener("dblclick", () => this.#setSourceWidth(0));
    return grip;
  }

  #toCharacters(px: number): number {
    return Math.round(Math.max(4, Math.min(80, px / this.#sourceGrip.getBoundingClientRect().width)));
  }

  #setSourceWidth(sourceWidth: number): void {
    this.#session.change({ sourceWidth });
  }

  #showSourceWidth(width: number): void {
    this.root.style.setProperty("--src-set", width > 0 ? `${width}ch` : "");
  }

  /** Say why the store cannot run in this page, and show the end of the log as plain text. Without a server, JupyterLab's extension shows the saved lines. */
  async #fallBack(problem: Problem): Promise<void> {
    this.#problem.show(problem, false);
    const { base, headers } = withOrigin(readPageConfig(), this.#session.origin);
    if (base === "") {
      this.root.dispatchEvent(new CustomEvent("cortex-logs-failed", { bubbles: true }));
      return;
    }
    try {
      const query = new URLSearchParams({ since: "all", tail: String(FALLBACK_LINES), timestamps: "true" });
      const texts = this.#session.tasks.map(async (task) => {
        const response = await fetch(`${base}${taskPath(task)}/logs.txt?${query}`, { headers, credentials: "same-origin" });
        if (!response.ok) throw new RequestError(await readProblem(response));
        return `${task}\n${visibleText(await response.text())}`;
      });
      const text = (await Promise.all(texts)).join("\n");
      const element = h("pre", { class: "cl-fallback", tabindex: "0" }, text);
      this.#rows.element.replaceWith(element);
      element.scrollTop = element.scrollHeight;
    } catch (reason) {
      this.showError(errorMessage(reason));
    }
  }

  /** Return the end of what the user sees: up to the last visible row, or while following up to the newest one. */
  async #savedView({ tasks, lines }: Update): Promise<SavedView> {
    const { follow, newestFirst, visibleRows } = this.#rows;
    const { settings } = this.#session;
    const rows = await this.#store.lastRows(this.#view, follow ? null : (visibleRows.at(newestFirst ? 0 : -1)?.id ?? null), SAVED_LINES);
    // The notebook keeps its lines.
    if (rows.length === 0 && lines > 0) throw new Error("no rows");
    return {
      tasks: tasks.map(({ task, message, state }) => ({ name: task, state: message || state })),
      filter: describeFilter(settings),
      time: settings.time,
      sources: this.#labels.length > 1 ? this.#labels.map(({ short, colour }) => ({ name: short, colour })) : [],
      rows,
      counts: this.#status.counts,
    };
  }

  /** Apply settings that changed here, in another view of the model, or in Python. */
  settings(): void {
    const { settings, height, tasks } = this.#session;
    const { time, wrap, trim, columns, newestFirst, fontSize } = settings;
    const refilters = this.#entry !== undefined && this.#entry.filter !== settings.filter;
    if (refilters) {
      // Send the filter first, so that the worker filters while the page draws the rest.
      this.#entry!.filter = settings.filter;
      this.#store.setFilter(this.#view, settings.filter);
    }
    this.#header.tasks(tasks);
    this.#filterBar.show(settings);
    this.#displayMenu.show();
    this.#timeBar.show(settings.filter);
    this.root.style.setProperty("--height", `${height}px`);
    this.root.style.setProperty("--size", `${fontSize}px`);
    this.root.style.setProperty("--row", `${Math.round(fontSize * LEADING)}px`);
    this.#showSourceWidth(settings.sourceWidth);
    setClass(this.root, "cl-notime", time === "off");
    setClass(this.root, "cl-clock", time === "local" || time === "utc");
    setClass(this.root, "cl-trim", trim);
    setClass(this.root, "cl-levels", columns.includes("level"));
    setClass(this.root, "cl-charted", settings.chart !== "" || settings.panel !== "");
    this.#chart.show(settings.chart !== "");
    this.#chart.panel?.show(settings);
    this.#patterns.show(settings.chart === "" && settings.panel !== "");
    this.#patterns.panel?.show(settings);
    if (this.#entry) this.#store.showChart(this.#view, settings.chart !== "");
    this.#columns.show(settings.filter.fields);
    this.#rows.setOrder(newestFirst);
    this.#rows.setLineLayout(wrap, Math.round(fontSize * LEADING));
    this.#showLabels();
    if (refilters) this.#rows.restyle();
    else this.#rows.draw();
  }

  /** Follow or pause, from Python. */
  follow(follow: boolean): void {
    this.#rows.setFollow(follow);
  }

  /** Go to a place, or to the newest line: now, or as soon as the viewer is visible, because its rows are measured again then. */
  goTo(to?: Jump): void {
    this.#whenVisible = () => (to === undefined ? this.#commands.act("newest") : this.#jump(to));
    if (this.#painter.isVisible) this.#visibilityChanged(true);
  }

  /** Put the bell into its place, and open its menu if the user asked for it. */
  async #loadBell(isAsked: boolean): Promise<void> {
    const { prompt } = this.#lineActions;
    try {
      const { Bell } = await this.#loadPanels();
      if (this.#session.isClosed) return;
      const bell = (this.#session.bell ??= new Bell(this.#session, this.#store)) as InstanceType<typeof Bell>;
      const { element, button } = bell.menuFor({ newest: () => this.#drawn?.newest ?? 0, ask: prompt.ask.bind(prompt), showError: (message) => this.showError(message) });
      this.#header.bell.replaceChildren(element);
      if (!isAsked) return;
      button.focus({ preventScroll: true });
      button.click();
    } catch (reason) {
      this.showError(errorMessage(reason));
    }
  }

  stopFinding(): void {
    this.#filterBar.toFilter();
  }

  showError(message: string): void {
    this.#problem.showError(message);
  }

  close(): void {
    this.#commands.close();
    this.#painter.close();
    this.#patterns.panel?.close();
    this.#ranks?.close();
    this.#resize?.disconnect();
    this.#rows.close();
    this.#store.closeView(this.#view);
    this.root.remove();
  }

  #observe(): void {
    if (typeof ResizeObserver !== "function") return;
    this.#resize = new ResizeObserver(() => {
      setClass(this.root, "cl-narrow", this.root.clientWidth < NARROW_PX);
      setClass(this.root, "cl-tight", this.root.clientWidth < TIGHT_PX);
      setClass(this.root, "cl-slim", this.root.clientWidth < SLIM_PX);
      this.#rows.measure();
      this.#columns.measure(this.#rows.element.offsetWidth - this.#rows.element.clientWidth);
      this.#sourceList.measure();
      this.#chart.panel?.draw();
    });
    this.#resize.observe(this.#sourceList.element);
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
    this.#session.onSummary(update.tasks);
    this.#columns.update(update.rows);
    this.#rows.update(update);
    this.#header.update(update);
    this.#filterBar.update(update);
    this.#status.update(update, this.#rows.follow, this.#lag(update));
    this.#empty.update(update, this.#session.settings.filter);
    this.#lineActions.update();
    this.#problem.show(update.problem, update.link === "stopped" || Boolean(update.problem?.task));
    if (update.histogram) this.#timeBar.draw(update.histogram, update.link !== "done", this.#sources);
    this.#showChart(update);
    this.#patterns.panel?.update(update);
    this.#ranks?.update(update);
    this.#goToLinked(update);
    this.#reportPlace();
  }

  #rankList({ RankList }: Panels): RankList {
    if (this.#ranks === undefined) {
      this.#ranks = new RankList(this.#session, (to) => this.#jump(to), (badges) => {
        this.#sourceList.mark(badges);
        this.#chart.panel?.draw();
      });
      if (this.#drawn) this.#ranks.update(this.#drawn);
    }
    return this.#ranks;
  }

  #showChart({ chart, histogram }: Pick<Update, "chart" | "histogram">): void {
    this.#chartData = { chart: chart ?? this.#chartData.chart, histogram: histogram ?? this.#chartData.histogram };
    this.#chart.panel?.update(this.#chartData, this.#sources, this.#labels);
  }

  /** Show why the store cannot compute a chart. */
  chartFailed(reason: string): void {
    const message = `The code for charts could not be loaded: ${reason}. Close the chart and open it again, or reload the page.`;
    this.#showChart({ chart: { curves: [], coverage: "none", linesRead: 0, lines: 0, message, leftOut: 0 } });
  }

  #addressOf(task: string | undefined, seq: number, time: number): string {
    return this.#header.lineAddress(task ?? this.#session.tasks[0] ?? "", seq, time);
  }

  async #copyMarkdown(from: number, to: number): Promise<string> {
    const [json, { formatMarkdown }] = await Promise.all([this.#store.copy(this.#view, from, to, "json"), this.#loadPanels()]);
    const lines = json.split("\n").filter(Boolean).map((line) => JSON.parse(line) as CopiedLine);
    const [first] = lines;
    return formatMarkdown(lines, this.#session.tasks, first === undefined ? "" : this.#addressOf(first.task, first.seq, Date.parse(first.time)));
  }

  /** Go to the line that the page's address points to, once lines around its time are loaded. */
  #goToLinked({ rows }: Update): void {
    const { readerTime, linkedSeq, tasks } = this.#session;
    if (this.#isLinkFollowed || linkedSeq === undefined || readerTime === null) return;
    const lines = rows.filter(({ kind }) => kind === "line");
    const isHere = lines.some(({ seq }) => seq === linkedSeq) || (lines.some(({ time }) => time < readerTime) && lines.some(({ time }) => time >= readerTime));
    this.#isLinkFollowed = isHere || this.#rows.hasMoved;
    if (isHere) this.#jump({ to: "seq", task: tasks[0], seq: linkedSeq, time: readerTime });
  }

  /** Update texts that count up after time has passed. */
  #clock(now: number): void {
    if (this.#drawn === undefined || !this.#painter.isVisible) return;
    const drawn = (this.#drawn = { ...this.#drawn, now });
    this.#header.clock(drawn);
    this.#sourceList.now = now;
    this.#patterns.panel?.update(drawn);
    this.#ranks?.update(drawn);
    this.#status.state(drawn, this.#rows.follow, this.#lag(drawn));
    this.#empty.updateText(drawn, this.#session.settings.filter);
  }

  #showLabels(): void {
    const { columns } = this.#session.settings;
    this.#labels = sourceLabels(this.#sources, columns);
    // Hidden containers need no room.
    const visible = this.#sources.some(({ on }) => on) ? this.#labels.filter((_unused, i) => this.#sources[i]?.on) : this.#labels;
    const drawnState = `${this.#labels.map(({ short, colour }) => `${short} ${colour}`).join("|")} ${visible.map(({ short }) => short).join("|")}`;
    if (drawnState === this.#drawnState) return;
    this.#drawnState = drawnState;
    // Leave room for the names of pods, and for the beginning of a container's name; in a wide viewer for all of it.
    const longest = Math.max(1, ...visible.map(({ short }) => short.split(" ")[0].length));
    const several = visible.some(({ short }) => short.includes(" "));
    const pod = Math.min(POD_CHARS, longest);
    this.root.style.setProperty("--src-least", `${several ? Math.max(9, pod + 4) : pod}ch`);
    this.root.style.setProperty("--src-most", `${Math.max(1, ...visible.map(({ short }) => short.length))}ch`);
    setClass(this.root, "cl-single", this.#labels.length < 2 || this.#labels.every(({ short }) => short === ""));
    this.#rows.restyle();
  }

  #reportPlace(): void {
    let first: number | null = null;
    let last: number | null = null;
    for (const { seq } of this.#rows.visibleRows) {
      if (first === null || seq < first) first = seq;
      if (last === null || seq > last) last = seq;
    }
    // Numbers are in the order of recording. They name the visible lines only if no other line has one between them.
    const isWhole = first !== null && last !== null && this.#session.tasks.length === 1 && last - first === this.#rows.visibleRows.length - 1;
    this.#status.place(isWhole ? first : null, last);
    this.#status.zone(this.#session.settings.time, this.#rows.visibleRows[0]?.time ?? Date.now());
    this.#timeBar.showVisible(this.#rows.visibleRows[0]?.time, this.#rows.visibleRows.at(-1)?.time);
    this.#session.reportVisible(this.#sources, first, last, this.#rows.follow ? undefined : this.#rows.visibleRows[0]?.time);
  }

  #lag({ total, newest }: Update): Lag {
    const { newestFirst, place, visibleRows } = this.#rows;
    const last = visibleRows.at(newestFirst ? 0 : -1);
    return { lines: newestFirst ? place.index : total - place.index - Math.max(1, visibleRows.length), time: last === undefined ? 0 : newest - last.time, isHeld: this.#rows.isHeld };
  }

  /** Return the day above the first line of a day, and what is new above the first line that came while the user was away. */
  #divider(row: Row, above: Row | undefined): Divider | null {
    const utc = this.#session.settings.time === "utc";
    const spansDays = above !== undefined || !isSameDay(this.#timeBar.from || row.time, this.#drawn?.newest || row.time, utc);
    const day = spansDays && (above === undefined || !isSameDay(row.time, above.time, utc)) ? formatWeekday(row.time, utc) : "";
    const [older, newer] = this.#rows.newestFirst ? [row, above] : [above, row];
    const { from, to } = this.#absence;
    const isNew = older !== undefined && newer !== undefined && older.time <= from && newer.time > from && newer.time <= to;
    if (day === "" && !isNew) return null;
    return { text: [isNew ? "New since you looked" : "", day].filter(Boolean).join(" · "), isNew };
  }

  #left(): void {
    const line = this.#rows.visibleRows.at(this.#rows.newestFirst ? 0 : -1);
    if (line !== undefined) this.#seen = { line: line.time, at: Date.now() };
  }

  #returned(): void {
    const now = Date.now();
    if (this.#seen !== undefined && now - this.#seen.at >= AWAY_MS) this.#absence = { from: this.#seen.line, to: now + (this.#drawn?.clockAhead ?? 0) };
    this.#seen = undefined;
  }

  #visibilityChanged(visible: boolean): void {
    if (this.#rows.follow && visible) this.#returned();
    else if (this.#rows.follow) this.#left();
    this.#store.setVisible(this.#view, visible);
    if (!visible) return;
    this.#whenVisible?.();
    this.#whenVisible = undefined;
  }

  #setHeight(height: number): void {
    const bounded = Math.round(Math.max(MIN_HEIGHT_PX, Math.min(MAX_HEIGHT_PX, height)));
    this.root.style.setProperty("--height", `${bounded}px`);
    this.#session.setTrait("height", bounded);
  }

  #followChanged(follow: boolean): void {
    if (follow) this.#returned();
    else if (!this.#rows.isHeld) this.#left();
    if (this.#drawn) this.#status.update(this.#drawn, follow, this.#lag(this.#drawn));
    // The selection of text belongs to this page.
    if (!this.#rows.isHeld) this.#session.setTrait("follow", follow);
  }

  #jump(to: Jump): void {
    this.#store.jump(this.#view, to);
  }

  #loadOlder(): void {
    if (this.#rows.follow && this.#rows.total > 1) this.#rows.setFollow(false);
    this.#store.loadOlder(this.#view);
  }
}

/** Return whether a user requested a notification before the page was reloaded. */
function hasStoredBell(tasks: string[]): boolean {
  try {
    return sessionStorage.getItem(bellKey(tasks)) !== null;
  } catch {
    return false;
  }
}

const MIN_HEIGHT_PX = 200;
const MAX_HEIGHT_PX = 3000;

/** Return an edge that a user drags. The display menu has the same for keys. `show` and `keep` get the size in px. */
function makeGrip(name: string, title: string, axis: "clientX" | "clientY", size: () => number, show: (px: number) => void, keep: (px: number) => void): HTMLElement {
  const element = h("div", { class: name, "aria-hidden": "true", title });
  element.addEventListener("pointerdown", (down: PointerEvent) => {
    const before = size() - down[axis];
    element.setPointerCapture(down.pointerId);
    const move = (event: PointerEvent): void => show(before + event[axis]);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", (event) => {
      element.removeEventListener("pointermove", move);
      if (event[axis] !== down[axis]) keep(before + event[axis]);
    }, { once: true });
    down.preventDefault();
  });
  return element;
}

/** The chart beside the lines: a small plot for each metric, over time (the same as the time axis) or over steps. */

import type { Filter, Jump } from "../protocol/requests.ts";
import type { Chart, ContainerSummary, Histogram, Update } from "../protocol/update.ts";
import { colourStyle } from "../text/colours.ts";
import { formatShortClock } from "../text/format.ts";
import type { Change, Settings } from "../client/settings.ts";
import { button, h, listen, setAttr, setHidden, setText } from "./dom.ts";
import { Menu, type MenuItem } from "./menu.ts";
import { buildMultiples, type CurvePoint, type Multiple, nearestPoints, timeOf, valueOf } from "./multiples.ts";
import { type Axis, LEFT, Plot, type PlotActions, RIGHT } from "./plot.ts";
import { hasRanks, type RankList } from "./ranklist.ts";
import type { SourceLabel } from "./row.ts";
import { formatNumber, roundTicks, timeTicks } from "./scale.ts";

const NO_METRICS = "No numbers that vary are in these lines. loss=0.31, JSON, tqdm, Keras, Lightning and others are recognised automatically.";
/** Minimum and maximum height of a plot (px). The plots divide the height of the panel. */
const MIN_PLOT_PX = 46;
const MAX_PLOT_PX = 150;
const TITLE_PX = 20;
const MAX_TICKS = 3;
/** Width of a tick label (px). */
const TICK_PX = 56;
/** Maximum number of values in the tooltip. */
const MAX_VALUES = 8;
/** Maximum number of containers in the legend. */
const MAX_LEGEND = 64;
/** Numbers of points over which curves can be smoothed. */
const SMOOTH = [0, 5, 20, 100];
/** Plots are drawn for at most this long in an animation frame (ms). The others follow in the next frames. */
const DRAW_SLICE_MS = 6;

/** Ask the user. `answer` handles what was typed, and returns what is wrong with it; "" if it is accepted. */
type Ask = (question: string, placeholder: string, value: string, answer: (text: string) => string) => void;

export class ChartPanel {
  #by = (["time", "step"] as const).map((by) => h("button", { title: `Over ${by}`, "aria-pressed": "false", onclick: () => this.#change({ chart: by }) }, by === "time" ? "Time" : "Step"));
  #log = h("button", { title: "Logarithmic scale", "aria-pressed": "false", onclick: () => this.#change({ chartLog: !this.#settings!.chartLog }) }, "log");
  #more = new Menu("⋯", "Smooth the curves, or go to a step", () => this.#menuItems(), "");
  #legend = h("div", { class: "cl-legend", role: "group", "aria-label": "Curves", hidden: true });
  /** The container that the user chose in the legend, and the one at the pointer. */
  #chosen: string | null = null;
  #pointed: string | null = null;
  #coverage = h("span", { class: "cl-dim cl-of" });
  #plots = h("div", { class: "cl-plots" });
  #empty = h("p", { class: "cl-dim", hidden: true });
  #ticks = h("div", { class: "cl-pt", "aria-hidden": "true" });
  #tip = h("div", { class: "cl-tip cl-ptip", role: "tooltip", hidden: true });
  readonly element = h(
    "div",
    { class: "cl-panel cl-chart", role: "group", "aria-label": "Chart of the metrics", hidden: true },
    h("div", { class: "cl-bar cl-chead" }, h("span", { class: "cl-seg", role: "group", "aria-label": "Over" }, ...this.#by), h("span", { class: "cl-seg" }, this.#log, this.#more.element), this.#coverage, h("span", { class: "cl-grow" }), button("×", "Close the chart (p)", () => this.#change({ chart: "" }), { class: "btn cl-x" })),
    this.#legend,
    this.#plots,
    this.#empty,
    this.#ticks,
    this.#tip,
  );
  #pool: Plot[] = [];
  #settings: Settings | undefined;
  #chart: Chart | undefined;
  #histogram: Histogram | undefined;
  #sources: ContainerSummary[] = [];
  #labels: SourceLabel[] = [];
  /** The properties of the sources on which the drawing depends. */
  #drawnState = "";
  #shown: Multiple[] = [];
  #axis: Axis | undefined;
  /** Number of plots still to be drawn. */
  #undrawn = 0;
  /** Index of the plot that was drawn last. */
  #lastDrawn = -1;
  /** Id of the animation frame that will continue; 0 for none. */
  #frame = 0;

  readonly #ranks: RankList;
  readonly #change: (change: Change) => void;
  readonly #jump: (jump: Jump) => void;
  readonly #ask: Ask;

  constructor(
    ranks: RankList,
    change: (change: Change) => void,
    jump: (jump: Jump) => void,
    ask: Ask,
  ) {
    this.#ranks = ranks;
    this.#change = change;
    this.#jump = jump;
    this.#ask = ask;
    listen(this.#legend, "pointerleave", () => this.#point(null));
  }

  #menuItems(): (MenuItem | string)[] {
    const { chartSmooth } = this.#settings!;
    return [
      "Smooth",
      ...SMOOTH.map((points) => ({ label: points === 0 ? "As they are" : `Over ${points} points`, checked: chartSmooth === points, act: () => this.#change({ chartSmooth: points }) })),
      "Go to",
      { label: "A step…", act: () => this.#ask("Go to step", "760", "", (text) => this.#goToStep(text)) },
    ];
  }

  /** Go to the line with the step that is nearest to a typed one. Return what is wrong; "" if nothing is. */
  #goToStep(text: string): string {
    const step = Number(text.replaceAll(/[\s_,]/g, "") || Number.NaN);
    if (!Number.isFinite(step)) return "write the number of a step such as 760";
    const points = this.#shown.flatMap(({ lines }) => nearestPoints({ lines: lines.map((line) => ({ ...line, x: line.step, ordered: false })) }, step));
    const distance = ({ line, at }: CurvePoint): number => Math.abs(line.step[at] - step);
    const [nearest] = points.toSorted((a, b) => distance(a) - distance(b));
    if (nearest === undefined) return "no line names a step";
    this.#jumpTo(nearest);
    return "";
  }

  /** Show which curve is whose. A click, or the pointer, makes the curves of the others pale. */
  #drawLegend(): void {
    const lines = new Map(this.#shown.flatMap(({ lines: all }) => all).map((line) => [line.source, line]));
    if (this.#chosen !== null && !lines.has(this.#chosen)) this.#chosen = null;
    setHidden(this.#legend, lines.size < 2);
    const shown = this.#sources.map(({ key }) => lines.get(key)).filter((line) => line !== undefined).toSorted((a, b) => a.label.localeCompare(b.label, undefined, { numeric: true })).slice(0, MAX_LEGEND);
    const state = `${lines.size}|${shown.map(({ label, colour }) => `${label} ${colour}`).join("|")}`;
    if (this.#legend.dataset.state !== state) {
      this.#legend.dataset.state = state;
      const items = shown.map(({ source, label, colour }) => {
        const item = h("button", { title: `${label}: show its curves before the others`, onclick: () => this.#choose(source), onpointerenter: () => this.#point(source) }, h("span", { class: "cl-s", style: colourStyle(colour), "aria-hidden": "true" }, "● "), label);
        item.dataset.source = source;
        return item;
      });
      this.#legend.replaceChildren(...items, ...(lines.size > shown.length ? [h("span", { class: "cl-faint" }, `and ${lines.size - shown.length} more`)] : []));
    }
    for (const item of this.#legend.querySelectorAll("button")) setAttr(item, "aria-pressed", String(item.dataset.source === this.#chosen));
  }

  #choose(source: string): void {
    this.#chosen = this.#chosen === source ? null : source;
    this.#pointed = null;
    this.draw();
  }

  #point(source: string | null): void {
    this.#pointed = source;
    this.draw();
  }

  /** Apply the settings. */
  show(settings: Settings): void {
    this.#settings = settings;
    this.element.hidden = settings.chart === "";
    for (const [i, by] of this.#by.entries()) setAttr(by, "aria-pressed", String(settings.chart === ["time", "step"][i]));
    setAttr(this.#log, "aria-pressed", String(settings.chartLog));
    this.#showRanks();
    this.draw();
  }

  update({ chart, histogram }: Pick<Update, "chart" | "histogram">, sources: ContainerSummary[], labels: SourceLabel[]): void {
    const drawnState = sources.map(({ key, on, colour }, i) => `${key} ${on} ${colour} ${labels[i]?.short}`).join("\n");
    const same = chart === this.#chart && histogram === this.#histogram && drawnState === this.#drawnState;
    this.#drawnState = drawnState;
    this.#chart = chart;
    this.#histogram = histogram;
    this.#sources = sources;
    this.#labels = labels;
    if (same) return;
    this.#showRanks();
    this.draw();
  }

  #showRanks(): void {
    this.#ranks.showIn(this.element, this.#settings!.chart !== "" && hasRanks(this.#sources), true);
  }

  draw(): void {
    const { filter, chart: by, chartLog, chartSmooth } = this.#settings!;
    if (by === "" || this.#chart === undefined || this.#histogram === undefined) return;
    const { shown, more, stepless } = buildMultiples(this.#chart, this.#sources, this.#labels, by, chartSmooth);
    this.#shown = shown;
    this.#drawLegend();
    const axis = this.#axisOf(by, chartLog, filter);
    this.#axis = axis;
    while (this.#pool.length < shown.length) this.#pool.push(this.#plot());
    if (this.#plots.children.length !== shown.length) this.#plots.replaceChildren(...this.#pool.slice(0, shown.length).map(({ element }) => element));
    this.#undrawn = shown.length;
    if (this.#frame === 0) this.#drawSome();
    this.#showCoverage(this.#chart, more, stepless);
    this.#drawTicks(axis);
  }

  /** Draw as many plots as there is time for in a frame, beginning after the last one drawn. So each plot is drawn even if updates keep coming. */
  #drawSome(): void {
    this.#frame = 0;
    const end = performance.now() + DRAW_SLICE_MS;
    for (; this.#undrawn > 0 && performance.now() < end; this.#undrawn--) {
      this.#lastDrawn = (this.#lastDrawn + 1) % this.#shown.length;
      this.#pool[this.#lastDrawn].draw(this.#shown[this.#lastDrawn], this.#axis!, this.#pointed ?? this.#chosen);
    }
    if (this.#undrawn > 0) this.#frame = requestAnimationFrame(() => this.#drawSome());
  }

  #plot(): Plot {
    const actions: PlotActions = {
      point: (plot, x, y) => this.#pointAt(plot, x, y),
      jump: (point) => this.#jumpTo(point),
      narrow: (a, b) => this.#narrow(a, b),
      widen: () => this.#change({ since: null, from: null, until: null }),
    };
    return new Plot(actions);
  }

  #axisOf(by: "time" | "step", log: boolean, filter: Filter): Axis {
    const { from, to, low } = this.#histogram!;
    const room = this.#plots.clientHeight || MIN_PLOT_PX * 3;
    const height = Math.max(MIN_PLOT_PX, Math.min(MAX_PLOT_PX, Math.floor(room / Math.max(1, this.#shown.length)) - TITLE_PX));
    const size = { by, log, width: this.#plots.clientWidth || 300, height };
    const window = filter.from === null ? [low, to] : [filter.from, filter.until ?? to];
    if (by === "time") return { ...size, from, to, low: window[0], high: window[1] };
    let [first, last, least, most] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const { lines } of this.#shown) {
      for (const { x, time } of lines) {
        for (let i = 0; i < x.length; i++) {
          if (Number.isNaN(x[i])) continue;
          [first, last] = [Math.min(first, x[i]), Math.max(last, x[i])];
          if (time[i] >= window[0] && time[i] <= window[1]) [least, most] = [Math.min(least, x[i]), Math.max(most, x[i])];
        }
      }
    }
    return first > last ? { ...size, from: 0, to: 1, low: 0, high: 1 } : { ...size, from: first, to: Math.max(last, first + 1e-9), low: Math.min(least, last), high: Math.max(most, first) };
  }

  #showCoverage(chart: Chart, more: number, stepless: number): void {
    const { coverage, linesRead, lines, message, leftOut } = chart;
    const share = lines > 0 ? ` ${Math.floor((100 * linesRead) / lines)} %` : "";
    const words = coverage === "reading" ? `reading${share}…` : coverage === "loaded" ? "only of the lines loaded here" : stepless > 0 ? `${stepless} without steps` : more + leftOut > 0 ? `${more + leftOut} more metrics` : "";
    setText(this.#coverage, words);
    setAttr(this.#coverage, "title", coverage === "loaded" ? message : coverage === "reading" ? "The server is reading the whole log" : "Of the whole log");
    this.#coverage.classList.toggle("cl-gaps", coverage === "loaded");
    setText(this.#empty, this.#shown.length > 0 ? "" : coverage === "none" ? message : stepless > 0 ? "No line names a step." : coverage === "reading" ? "Reading the log…" : NO_METRICS);
    this.#empty.hidden = this.#empty.textContent === "";
  }

  #drawTicks({ by, from, to, width }: Axis): void {
    // Show as many labels as fit.
    const count = Math.max(1, Math.min(MAX_TICKS, Math.floor((width - LEFT - RIGHT) / TICK_PX) - 1));
    const times = timeTicks(from, to + (to - from) / count, count + 1).map((text, i): [number, string] => [i / count, text]);
    const steps = (): [number, string][] => roundTicks(from, to, count).map((step) => [(step - from) / (to - from), formatNumber(step, 3)]);
    const all = this.#shown.length === 0 ? [] : by === "time" ? times : steps();
    if (this.#ticks.children.length !== all.length) this.#ticks.replaceChildren(...all.map(() => h("span", {})));
    for (const [i, [share, text]] of all.entries()) {
      const tick = this.#ticks.children[i] as HTMLElement;
      setText(tick, text);
      tick.style.left = `${(100 * share).toFixed(1)}%`;
      // Keep the labels at the ends within the chart.
      tick.style.transform = `translateX(${share < 0.05 ? 0 : share > 0.95 ? -100 : -50}%)`;
    }
  }

  /** Mark a position on the axis in all plots, and show its values in a tooltip beside `plot`. */
  #pointAt(plot: Plot, x: number | null, y: number): void {
    // Measure before changing anything: measuring afterwards would force another layout.
    const place = plot.area.getBoundingClientRect();
    const panel = this.element.getBoundingClientRect();
    for (const other of this.#pool.slice(0, this.#shown.length)) if (other !== plot) other.mark(x);
    const points = plot.mark(x, y);
    this.#tip.hidden = x === null || points.length === 0;
    if (x === null || points.length === 0) return;
    const distance = (point: CurvePoint): number => Math.abs(point.line.x[point.at] - x);
    const { line, at } = points.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    const when = [formatShortClock(line.time[at], true), Number.isNaN(line.step[at]) ? "" : `step ${formatNumber(line.step[at], 6)}`].filter(Boolean).join(" · ");
    const rows = points.slice(0, MAX_VALUES).map((point, i) => h(i === 0 ? "b" : "span", { class: "cl-s", style: colourStyle(point.line.colour) }, "● ", h("span", {}, `${formatNumber(valueOf(point))} ${point.line.label}`)));
    this.#tip.replaceChildren(h("span", {}, when), ...rows, ...(points.length > MAX_VALUES ? [h("span", { class: "cl-faint" }, `and ${points.length - MAX_VALUES} more`)] : []));
    plot.describe(`${when}. ${points.slice(0, MAX_VALUES).map((point) => `${point.line.label} ${formatNumber(valueOf(point))}`.trim()).join(", ")}`, x);
    const left = place.left - panel.left + plot.frame.xOf(x);
    const right = left > panel.width / 2;
    this.#tip.style.left = `${Math.round(right ? left - 10 : left + 10)}px`;
    this.#tip.style.transform = right ? "translateX(-100%)" : "";
    this.#tip.style.top = `${Math.round(Math.min(place.top - panel.top + 6, Math.max(0, panel.height - 24 - 17 * Math.min(points.length, MAX_VALUES + 1))))}px`;
  }

  #jumpTo(point: CurvePoint): void {
    const { filter } = this.#settings!;
    const time = timeOf(point);
    if (filter.from !== null && (time < filter.from || time > (filter.until ?? Infinity))) this.#change({ since: null, from: null, until: null });
    this.#jump({ to: "seq", task: point.line.task, seq: point.line.seq[point.at], time });
  }

  /** Narrow the window to a range of the axis. A range of steps is converted to the times of the lines that report them. */
  #narrow(a: number, b: number): void {
    let [from, until] = [a, b];
    if (this.#axis!.by === "step") {
      const times = this.#shown.flatMap(({ lines }) => lines.flatMap(({ x, time }) => [...time].filter((_unused, i) => x[i] >= a && x[i] <= b)));
      if (times.length === 0) return;
      [from, until] = [times.reduce((least, time) => Math.min(least, time)), times.reduce((most, time) => Math.max(most, time))];
    }
    this.#change({ since: null, from: Math.floor(from), until: Math.ceil(until) });
  }
}

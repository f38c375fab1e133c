/**
 * One metric as a small plot: its lines, its non-finite values, and an overlay that shows where the pointer or the keyboard is. The
 * overlay is a drawing of its own, so that the curves are not repainted when the pointer moves.
 */

import { colourStyle } from "../text/colours.ts";
import { formatShortClock } from "../text/format.ts";
import { focusOn, h, listen, setAttr, setHidden, setText, svg } from "./dom.ts";
import { type CurvePoint, livePoints, medianOf, type Multiple, pointsNear, valueOf } from "./multiples.ts";
import { formatNumber, makeScale, type Scale } from "./scale.ts";

const CROSS = "m-3 -3l6 6m0 -6l-6 6";

export interface PlotActions {
  /** The pointer or the keyboard is at position `x` on the axis (null: it has left), the pointer at height `y` (px). */
  point(plot: Plot, x: number | null, y: number): void;
  jump(point: CurvePoint): void;
  narrow(a: number, b: number): void;
  widen(): void;
}

export class Plot {
  #name = h("b", { class: "cl-pn" });
  #nonFinite = h("button", { class: "cl-lost", hidden: true, onclick: () => this.#multiple.nonFinite[0] && this.#actions.jump(this.#multiple.nonFinite[0]) });
  #linear = h("span", { class: "cl-faint", title: "A logarithmic scale has no place for values of 0 and less" }, "linear, for values ≤ 0");
  #value = h("span", { class: "cl-pv" });
  #grid = svg("path", { class: "cl-pg" });
  #labels = svg("g", { class: "cl-pl" });
  #bands = svg("g", { class: "cl-pb" });
  /** The curves as they are, behind the smoothed ones. */
  #raw = svg("g", { class: "cl-raw" });
  #lines = svg("g", { class: "cl-pc" });
  #crosses = svg("path", { class: "cl-px" });
  #since = svg("path", { class: "cl-px cl-since" });
  #window = svg("rect", { class: "cl-h-window", width: "0" });
  #veil = svg("path", { class: "cl-pw" });
  #drawing = svg("svg", { "aria-hidden": "true" });
  readonly overlay = new PlotOverlay();
  readonly area = h("div", { class: "cl-plot", role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "100" }, this.#drawing, this.overlay.element);
  readonly element = h("div", { class: "cl-mult" }, h("div", { class: "cl-ph1" }, this.#name, this.#nonFinite, this.#linear, h("span", { class: "cl-grow" }), this.#value), this.area);
  #multiple: Multiple = { name: "", lines: [], nonFinite: [], least: Infinity, most: -Infinity };
  frame = new PlotFrame({ by: "time", from: 0, to: 1, low: 0, high: 1, log: false, width: 0, height: 0 }, makeScale(0, 1, false, 2));

  readonly #actions: PlotActions;

  constructor(actions: PlotActions) {
    this.#actions = actions;
    this.#drawing.append(this.#grid, this.#labels, this.#window, this.#since, this.#bands, this.#raw, this.#lines, this.#veil, this.#crosses);
    this.overlay.resize(this.frame);
    listenToInput(this, actions);
  }

  /** Draw. If `lit` is the key of a container, the curves of the others are pale. */
  draw(multiple: Multiple, axis: Axis, lit: string | null): void {
    this.#multiple = multiple;
    const { name, lines, nonFinite, least, most } = multiple;
    const { width, height } = axis;
    const frame = new PlotFrame(axis, makeScale(least <= most ? least : 0, least <= most ? most : 1, axis.log, height > 90 ? 4 : 3));
    this.frame = frame;
    this.overlay.resize(frame);
    setHidden(this.#linear, !axis.log || least > 0 || least > most);
    setAttr(this.#drawing, "width", String(width));
    setAttr(this.#drawing, "height", String(height));
    setText(this.#name, name);
    this.#name.title = name;
    this.#showNonFinite(nonFinite);
    setHidden(this.#value, nonFinite.length > 0 && lines.length > 1 && width < TITLE_ROOM_PX);
    const ticks = frame.scale.ticks.map((value) => ({ value, y: frame.yOf(value) })).filter(({ y }) => y >= TOP - 4 && y <= height - BOTTOM + 1);
    setAttr(this.#grid, "d", ticks.map(({ y }) => `M${LEFT} ${y.toFixed(1)}H${width - RIGHT}`).join(""));
    this.#labels.replaceChildren(...ticks.map(({ value, y }) => {
      const label = svg("text", { x: String(LEFT - 5), y: (y + 3.5).toFixed(1) });
      label.textContent = formatNumber(value, 3);
      return label;
    }));
    for (const group of [this.#lines, this.#bands, this.#raw]) {
      while (group.children.length > lines.length) group.lastChild!.remove();
      while (group.children.length < lines.length) group.append(svg("path", {}));
    }
    const pathsOf = (x: Float64Array, value: Float64Array): CurvePaths => curvePaths(x, value, (one) => frame.xOf(one), (one) => frame.yOf(one), width);
    for (const [i, { colour, source, x, value, smooth }] of lines.entries()) {
      const { line, band } = pathsOf(x, value);
      // A band shows the values already.
      const shown = smooth === undefined ? [line, band, ""] : [pathsOf(x, smooth).line, band, band === "" ? line : ""];
      for (const [at, group] of [this.#lines, this.#bands, this.#raw].entries()) {
        const element = group.children[i] as SVGElement;
        setColour(element, colour);
        setAttr(element, "d", shown[at]);
        element.classList.toggle("cl-pale", lit !== null && lit !== source);
      }
    }
    this.#drawNonFinite(nonFinite);
    this.#drawWindow();
    this.#showNewest();
    setAttr(this.area, "aria-label", this.#summary());
  }

  /** Show the values at a position on the axis; for null the newest values. Return the points there, the nearest to `y` (px) first. */
  mark(x: number | null, y = Number.NaN): CurvePoint[] {
    const points = x === null ? [] : this.pointsAt(x, y);
    this.overlay.show(x, points, !Number.isNaN(y));
    if (points.length === 0) this.#showNewest();
    else this.#showValue(points, this.#multiple.lines.length > 1 ? `Median of ${points.length} curves here` : "Value here");
    return points;
  }

  pointsAt(x: number, y: number): CurvePoint[] {
    const { from, to, width } = this.frame.axis;
    const points = pointsNear(this.#multiple, x, (REACH_PX * (to - from)) / Math.max(1, width - LEFT - RIGHT));
    if (Number.isNaN(y)) return points;
    const distance = (point: CurvePoint): number => Math.abs((Number.isFinite(valueOf(point)) ? this.frame.yOf(valueOf(point)) : TOP) - y);
    return points.toSorted((a, b) => distance(a) - distance(b));
  }

  /** Describe the plot for screen readers. */
  describe(words: string, x: number): void {
    setAttr(this.area, "aria-valuetext", words);
    setAttr(this.area, "aria-valuenow", String(Math.round(100 * this.frame.share(x))));
  }

  /** Draw a cross at the first non-finite value, and a short bar at each. */
  #drawNonFinite(lost: CurvePoint[]): void {
    const places = [...new Set(lost.map(({ line, at }) => line.x[at]).filter((x) => !Number.isNaN(x)).map((x) => Math.round(this.frame.xOf(x))))];
    const first = Math.min(...places);
    setAttr(this.#crosses, "d", places.length === 0 ? "" : `M${first} ${TOP - 1}${CROSS}${places.map((x) => `M${x - 1} ${TOP - 4}h2`).join("")}`);
    setAttr(this.#since, "d", places.length === 0 ? "" : `M${first} ${TOP + 4}V${this.frame.axis.height - BOTTOM}`);
  }

  /** Draw the window as on the time axis, and dim the curves outside. */
  #drawWindow(): void {
    const { low, high, from, to, height, width } = this.frame.axis;
    const all = low <= from && high >= to;
    placeBand(this.#window, this.frame, low, all ? low : high);
    const veil = (left: number, right: number): string => (right - left > 0.5 ? `M${left.toFixed(1)} 0H${right.toFixed(1)}V${height}H${left.toFixed(1)}z` : "");
    setAttr(this.#veil, "d", all ? "" : `${veil(LEFT, this.frame.xOf(low))}${veil(this.frame.xOf(high), width - RIGHT + 4)}`);
  }

  #showNonFinite(lost: CurvePoint[]): void {
    const [first] = lost;
    this.#nonFinite.hidden = first === undefined;
    if (first === undefined) return;
    const { line, at } = first;
    const what = Number.isNaN(line.value[at]) ? "NaN" : "Inf";
    const stays = !line.value.subarray(at).some(Number.isFinite);
    const place = Number.isNaN(line.step[at]) ? formatShortClock(line.time[at], true) : `step ${formatStep(line.step[at])}`;
    const alone = lost.every((other) => other.line === line);
    const who = line.label && (alone || !stays) ? `, ${line.label}` : "";
    setText(this.#nonFinite, `${what} ${stays ? "from" : "at"} ${place}${who}${!stays && lost.length > 1 ? ", and more" : ""}`);
    const title = `${this.#multiple.name} is ${what} first at ${formatShortClock(line.time[at], true)}${line.label ? `, in ${line.label}` : ""}: go to the line`;
    setAttr(this.#nonFinite, "title", title);
    setAttr(this.#nonFinite, "aria-label", title);
  }

  #showNewest(): void {
    const live = livePoints(this.#multiple);
    const { length } = this.#multiple.lines;
    this.#showValue(live, length > 1 ? `Median of the last values of ${live.length} of ${length} curves${live.length < length ? "; the others have ended" : ""}` : "Last value");
  }

  /** Show the value of the only curve, or the median of several. */
  #showValue(points: CurvePoint[], title: string): void {
    const value = medianOf(points);
    setText(this.#value, value === undefined ? "" : `${this.#multiple.lines.length > 1 ? "median " : ""}${formatNumber(value)}`);
    setAttr(this.#value, "title", title);
  }

  #summary(): string {
    const { name, lines, nonFinite, least, most } = this.#multiple;
    const several = lines.length > 1 ? `, ${lines.length} sources` : "";
    const range = least <= most ? `, from ${formatNumber(least)} to ${formatNumber(most)}` : "";
    const newest = medianOf(livePoints(this.#multiple));
    const words = lines.length > 1 ? "median of the last values" : "last value";
    return `${name}${several}${range}${newest === undefined ? "" : `, ${words} ${formatNumber(newest)}`}${nonFinite.length > 0 ? `, ${this.#nonFinite.textContent}` : ""}. Arrows move, Shift with arrows chooses a range, Enter goes to the line`;
  }
}

function formatStep(step: number): string {
  return Number.isInteger(step) ? step.toLocaleString("en").replaceAll(",", "\u202f") : formatNumber(step);
}

/** Narrower plots have no room for both a NaN and a median in their title (px). */
const TITLE_ROOM_PX = 400;
/** A curve is named under the pointer up to this far from its ends (px), for a pointer is not exact. */
const REACH_PX = 4;
export const LEFT = 40;
export const RIGHT = 8;
const TOP = 7;
const BOTTOM = 5;

/** What all plots of a chart share. */
export interface Axis {
  by: "time" | "step";
  from: number;
  to: number;
  /** Start and end of the window; start and end of the axis if the window covers everything. */
  low: number;
  high: number;
  log: boolean;
  width: number;
  height: number;
}

class PlotFrame {
  constructor(
    readonly axis: Axis,
    readonly scale: Scale,
  ) {}

  /** Return the position on the axis, 0 to 1. */
  share(x: number): number {
    const { from, to } = this.axis;
    return Math.max(0, Math.min(1, (x - from) / Math.max(1e-9, to - from)));
  }

  xOf(x: number): number {
    return LEFT + this.share(x) * (this.axis.width - LEFT - RIGHT);
  }

  yOf(value: number): number {
    return TOP + (1 - this.scale.at(value)) * (this.axis.height - TOP - BOTTOM);
  }

  /** Return the position on the axis at a distance from the left edge (px). */
  at(px: number): number {
    const { from, to, width } = this.axis;
    return from + Math.max(0, Math.min(1, (px - LEFT) / (width - LEFT - RIGHT))) * (to - from);
  }
}

/** With more points per pixel than this, a band is drawn. */
const DENSE_POINTS_PER_PX = 1.5;
/** Width of a column of the band (px). */
const COLUMN_PX = 2;

export interface CurvePaths {
  line: string;
  /** "" if the line goes through all points. */
  band: string;
}

/** Points that are drawn as one: the sums of their coordinates, their number, and the lowest and the highest (px). */
interface CurvePlace {
  x: number;
  y: number;
  of: number;
  low: number;
  high: number;
}

/**
 * Return a curve as SVG paths: a line through its points, or if they are too many, a band from minimum to maximum and a line through
 * the means. `px` and `py` convert a point to pixels. The curve is interrupted at a non-finite value and where steps start over.
 */
export function curvePaths(x: Float64Array, value: Float64Array, px: (x: number) => number, py: (value: number) => number, width: number): CurvePaths {
  const dense = x.length > DENSE_POINTS_PER_PX * width;
  const runs: CurvePlace[][] = [];
  let last = Infinity;
  let column = -1;
  for (let i = 0; i < x.length; i++) {
    const isLost = !Number.isFinite(value[i]);
    if (isLost || x[i] < last) last = Infinity;
    if (isLost || Number.isNaN(x[i])) continue;
    const [left, top] = [px(x[i]), py(value[i])];
    if (last === Infinity) {
      runs.push([]);
      column = -1;
    }
    last = x[i];
    const run = runs.at(-1)!;
    if (dense && Math.floor(left / COLUMN_PX) === column) {
      const place = run.at(-1)!;
      place.x += left;
      place.y += top;
      place.of++;
      if (top > place.low) place.low = top;
      if (top < place.high) place.high = top;
    } else run.push({ x: left, y: top, of: 1, low: top, high: top });
    column = Math.floor(left / COLUMN_PX);
  }
  const middle = (run: CurvePlace[]): string => pathOf(run, ({ y, of }) => y / of);
  return {
    // A single point is a dot.
    line: runs.map((run) => (run.length === 1 ? `${middle(run)}h0` : middle(run))).join(""),
    band: dense ? runs.filter((run) => run.length > 1).map((run) => `${pathOf(run, ({ high }) => high)}${pathOf(run.toReversed(), ({ low }) => low).replace("M", "L")}z`).join("") : "",
  };
}

function pathOf(run: CurvePlace[], y: (place: CurvePlace) => number): string {
  return `M${run.map((place) => `${roundToTenth(place.x / place.of)} ${roundToTenth(y(place))}`).join("L")}`;
}

/** Round to a tenth. This is three times as fast as `toFixed`. */
function roundToTenth(px: number): number {
  return Math.round(px * 10) / 10;
}

/** Maximum number of points that are marked at a position. */
const MAX_DOTS = 12;

class PlotOverlay {
  #drag = svg("rect", { class: "cl-h-drag", width: "0" });
  #cursor = svg("path", { class: "cl-pcur" });
  #dots = svg("g", { class: "cl-pc" });
  readonly element = svg("svg", { class: "cl-over", "aria-hidden": "true" });
  #frame!: PlotFrame;

  constructor() {
    this.element.append(this.#drag, this.#cursor, this.#dots);
  }

  resize(frame: PlotFrame): void {
    this.#frame = frame;
    setAttr(this.element, "width", String(frame.axis.width));
    setAttr(this.element, "height", String(frame.axis.height));
  }

  /** Mark the points at a position on the axis. With `near`, the first one is nearest to the pointer and gets a larger mark. */
  show(x: number | null, points: CurvePoint[], near: boolean): void {
    const frame = this.#frame;
    const dots = points.slice(0, MAX_DOTS).filter((point) => Number.isFinite(valueOf(point)));
    while (this.#dots.children.length > dots.length) this.#dots.lastChild!.remove();
    for (const [i, { line, at }] of dots.entries()) {
      const dot = (this.#dots.children[i] as SVGElement | undefined) ?? this.#dots.appendChild(svg("circle", {}));
      setColour(dot, line.colour);
      setAttr(dot, "cx", frame.xOf(line.x[at]).toFixed(1));
      setAttr(dot, "cy", frame.yOf(line.value[at]).toFixed(1));
      setAttr(dot, "r", i === 0 && near ? "3.5" : "2.5");
    }
    setAttr(this.#cursor, "d", x === null || points.length === 0 ? "" : `M${frame.xOf(x).toFixed(1)} ${TOP - 3}V${frame.axis.height - BOTTOM}`);
  }

  /** Show the range that is being chosen; null hides it. */
  range(a: number | null, b = 0): void {
    placeBand(this.#drag, this.#frame, a ?? 0, a === null ? 0 : b);
  }
}

/** Move a rectangle over a range of the axis. */
function placeBand(rect: SVGElement, frame: PlotFrame, a: number, b: number): void {
  const [from, to] = [frame.xOf(Math.min(a, b)), frame.xOf(Math.max(a, b))];
  for (const [name, value] of [["x", from], ["y", 1], ["width", a === b ? 0 : Math.max(1, to - from)], ["height", frame.axis.height - 2]] as const) setAttr(rect, name, String(Number(value.toFixed(1))));
}

/** Set the colour as CSS properties. Setting the `style` attribute would violate a strict Content-Security-Policy. */
function setColour(element: SVGElement, colour: number): void {
  const style = colourStyle(colour);
  if (element.dataset.colour === style) return;
  element.dataset.colour = style;
  element.style.cssText = style;
}

/** A drag over fewer pixels than this is a click. */
const CLICK_PX = 4;

function listenToInput(plot: Plot, actions: PlotActions): void {
  listenToPointer(plot, actions);
  listenToKeys(plot, actions);
}

function listenToPointer(plot: Plot, actions: PlotActions): void {
  const { area } = plot;
  let down: number | null = null;
  let frame = 0;
  const place = ({ clientX, clientY }: MouseEvent, before = clientX): { x: number; y: number; from: number } => {
    const { left, top } = area.getBoundingClientRect();
    return { x: plot.frame.at(clientX - left), y: clientY - top, from: plot.frame.at(before - left) };
  };
  listen(area, "pointerdown", (event: PointerEvent) => {
    if (event.button !== 0) return;
    down = event.clientX;
    area.setPointerCapture?.(event.pointerId);
    event.preventDefault();
    focusOn(area);
  });
  listen(area, "pointermove", (event: PointerEvent) => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      const { x, y, from } = place(event, down ?? undefined);
      actions.point(plot, x, y);
      if (down !== null && Math.abs(event.clientX - down) > CLICK_PX) plot.overlay.range(from, x);
    });
  });
  listen(area, "pointerup", (event: PointerEvent) => {
    if (down === null) return;
    cancelAnimationFrame(frame);
    const { x, y, from } = place(event, down);
    const dragged = Math.abs(event.clientX - down) > CLICK_PX;
    down = null;
    plot.overlay.range(null);
    const [point] = dragged ? [] : plot.pointsAt(x, y);
    if (dragged) actions.narrow(Math.min(from, x), Math.max(from, x));
    else if (point) actions.jump(point);
  });
  listen(area, "dblclick", () => actions.widen());
  listen(area, "pointerleave", () => {
    cancelAnimationFrame(frame);
    actions.point(plot, null, Number.NaN);
  });
}

function listenToKeys(plot: Plot, actions: PlotActions): void {
  /** The current position of the keyboard, and where a range that is chosen with Shift begins. */
  let [at, begun]: (number | null)[] = [null, null];
  const unset = (): void => {
    at = begun = null;
    plot.overlay.range(null);
    actions.point(plot, null, Number.NaN);
  };
  listen(plot.area, "blur", unset);
  listen(plot.area, "keydown", (event) => {
    const { from, to } = plot.frame.axis;
    const step = (to - from) / 100;
    const by = { ArrowLeft: -step, ArrowRight: step, PageUp: -10 * step, PageDown: 10 * step, Home: from - to, End: to - from }[event.key];
    if (by !== undefined) {
      const now: number = at ?? to;
      if (event.shiftKey) begun ??= now;
      else begun = null;
      at = Math.max(from, Math.min(to, now + by));
      actions.point(plot, at, Number.NaN);
      plot.overlay.range(begun, at);
    } else if (event.key === "Enter" && at !== null) {
      const [point] = plot.pointsAt(at, Number.NaN);
      if (begun !== null) actions.narrow(Math.min(begun, at), Math.max(begun, at));
      else if (point) actions.jump(point);
      begun = null;
      plot.overlay.range(null);
    } else if (event.key === "Escape") {
      if (begun === null) actions.widen();
      unset();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

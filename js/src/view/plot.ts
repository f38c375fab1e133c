/** One metric as a small picture: its lines, where they are no numbers, and the pointer's and the keyboard's place. */

import { curvePaths } from "./curve.ts";
import { h, setHidden, setAttr, setText, svg } from "./dom.ts";
import { formatShortClock } from "./format.ts";
import { type CurvePoint, type Multiple, nearestPoints, timeOf, valueOf } from "./multiples.ts";
import { type Axis, BOTTOM, PlotFrame, LEFT, RIGHT, TOP } from "./plotframe.ts";
import { listenToInput } from "./plotinput.ts";
import { placeBand, PlotOverlay, setHue } from "./plotoverlay.ts";
import { makeScale, formatNumber } from "./scale.ts";

const CROSS = "m-3 -3l6 6m0 -6l-6 6";

export interface PlotActions {
  /** The pointer or the keyboard is at a place of the axis, the pointer at a height, px; null: nowhere. */
  point(plot: Plot, x: number | null, y: number): void;
  jump(point: CurvePoint): void;
  narrow(a: number, b: number): void;
  widen(): void;
}

export class Plot {
  #name = h("b", { class: "cl-pn" });
  #nonFinite = h("button", { type: "button", class: "cl-lost", hidden: true, onclick: () => this.#multiple.nonFinite[0] && this.actions.jump(this.#multiple.nonFinite[0]) });
  #linear = h("span", { class: "cl-faint", title: "A logarithmic scale has no place for values of 0 and less" }, "linear, for values ≤ 0");
  #value = h("span", { class: "cl-pv" });
  #grid = svg("path", { class: "cl-pg" });
  #labels = svg("g", { class: "cl-pl" });
  #bands = svg("g", { class: "cl-pb" });
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

  constructor(private readonly actions: PlotActions) {
    this.#drawing.append(this.#grid, this.#labels, this.#window, this.#since, this.#bands, this.#lines, this.#veil, this.#crosses);
    this.overlay.resize(this.frame);
    listenToInput(this, actions);
  }

  draw(multiple: Multiple, axis: Axis): void {
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
    const ticks = frame.scale.ticks.map((value) => ({ value, y: frame.yOf(value) })).filter(({ y }) => y >= TOP - 4 && y <= height - BOTTOM + 1);
    setAttr(this.#grid, "d", ticks.map(({ y }) => `M${LEFT} ${y.toFixed(1)}H${width - RIGHT}`).join(""));
    this.#labels.replaceChildren(...ticks.map(({ value, y }) => {
      const label = svg("text", { x: String(LEFT - 5), y: (y + 3.5).toFixed(1) });
      label.textContent = formatNumber(value, 3);
      return label;
    }));
    for (const group of [this.#lines, this.#bands]) {
      while (group.children.length > lines.length) group.lastChild!.remove();
      while (group.children.length < lines.length) group.append(svg("path", {}));
    }
    for (const [i, { hue, x, value }] of lines.entries()) {
      const paths = curvePaths(x, value, (one) => frame.xOf(one), (one) => frame.yOf(one), width);
      for (const [group, path] of [[this.#lines, paths.line], [this.#bands, paths.band]] as const) {
        const element = group.children[i] as SVGElement;
        setHue(element, hue);
        setAttr(element, "d", path);
      }
    }
    this.#drawNonFinite(nonFinite);
    this.#drawWindow();
    this.#showNewest();
    setAttr(this.area, "aria-label", this.#summary());
  }

  /** Shows what is at a place of the axis; null: what is newest. Answers the points, the nearest to `y` (px) first. */
  mark(x: number | null, y = Number.NaN): CurvePoint[] {
    const points = x === null ? [] : this.pointsAt(x, y);
    this.overlay.show(x, points, !Number.isNaN(y));
    if (points.length === 0) this.#showNewest();
    else setText(this.#value, formatNumber(valueOf(points[0])));
    return points;
  }

  pointsAt(x: number, y: number): CurvePoint[] {
    const points = nearestPoints(this.#multiple, x);
    if (Number.isNaN(y)) return points;
    const distance = (point: CurvePoint): number => Math.abs((Number.isFinite(valueOf(point)) ? this.frame.yOf(valueOf(point)) : TOP) - y);
    return points.toSorted((a, b) => distance(a) - distance(b));
  }

  /** In words, for a reader who does not see it. */
  describe(words: string, x: number): void {
    setAttr(this.area, "aria-valuetext", words);
    setAttr(this.area, "aria-valuenow", String(Math.round(100 * this.frame.share(x))));
  }

  /** A cross where values first are none, and a bar as long as some are. */
  #drawNonFinite(lost: CurvePoint[]): void {
    const places = [...new Set(lost.map(({ line, at }) => line.x[at]).filter((x) => !Number.isNaN(x)).map((x) => Math.round(this.frame.xOf(x))))];
    const first = Math.min(...places);
    setAttr(this.#crosses, "d", places.length === 0 ? "" : `M${first} ${TOP - 1}${CROSS}${places.map((x) => `M${x - 1} ${TOP - 4}h2`).join("")}`);
    setAttr(this.#since, "d", places.length === 0 ? "" : `M${first} ${TOP + 4}V${this.frame.axis.height - BOTTOM}`);
  }

  /** As on the time axis; what is out of it is veiled. */
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
    setText(this.#nonFinite, `${what} from ${Number.isNaN(line.step[at]) ? formatShortClock(line.time[at], true) : `step ${formatStep(line.step[at])}`}`);
    const title = `${this.#multiple.name} is ${what} first at ${formatShortClock(line.time[at], true)}${line.label ? `, in ${line.label}` : ""}: go to the line`;
    setAttr(this.#nonFinite, "title", title);
    setAttr(this.#nonFinite, "aria-label", title);
  }

  #newest(): CurvePoint[] {
    return this.#multiple.lines.filter(({ value }) => value.length > 0).map((line) => ({ line, at: line.value.length - 1 }));
  }

  #showNewest(): void {
    const newest = this.#newest().toSorted((a, b) => timeOf(b) - timeOf(a))[0];
    setText(this.#value, newest ? formatNumber(valueOf(newest)) : "");
  }

  #summary(): string {
    const { name, lines, nonFinite, least, most } = this.#multiple;
    const several = lines.length > 1 ? `, ${lines.length} sources` : "";
    const range = least <= most ? `, from ${formatNumber(least)} to ${formatNumber(most)}` : "";
    const newest = this.#newest().toSorted((a, b) => timeOf(b) - timeOf(a))[0];
    return `${name}${several}${range}${newest ? `, newest ${formatNumber(valueOf(newest))}` : ""}${nonFinite.length > 0 ? `, ${this.#nonFinite.textContent}` : ""}. Arrows move, Shift with arrows chooses a range, Enter goes to the line`;
  }
}

function formatStep(step: number): string {
  return Number.isInteger(step) ? step.toLocaleString("en").replaceAll(",", "\u202f") : formatNumber(step);
}

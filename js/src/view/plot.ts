/** One metric as a small picture: its lines, where they are no numbers, and the pointer's and the keyboard's place. */

import { h, put, say, svg } from "./dom.ts";
import { shortClock } from "./format.ts";
import { type Lost, type Multiple, nearestOf, timeOf } from "./multiples.ts";
import { type Scale, scaleOf, short } from "./scale.ts";

const LEFT = 40;
const RIGHT = 8;
const TOP = 7;
const BOTTOM = 5;
/** Less than this is a click, px. */
const CLICK = 4;
/** Points of a place that are marked. */
const DOTS = 12;
/** Points of a pixel's width. */
const DENSE = 1.5;
const CROSS = "m-3 -3l6 6m0 -6l-6 6";

/** What all plots of a chart share. */
export interface Axis {
  by: "time" | "step";
  from: number;
  to: number;
  /** The window, where it is not all. */
  low: number;
  high: number;
  log: boolean;
  width: number;
  height: number;
}

export interface PlotActions {
  /** The pointer or the keyboard is at a place of the axis; null: nowhere. */
  point(plot: Plot, x: number | null): void;
  jump(point: Lost): void;
  narrow(a: number, b: number): void;
  widen(): void;
}

export class Plot {
  #name = h("b", { class: "cl-pn" });
  #lost = h("button", { type: "button", class: "cl-lost", hidden: true, onclick: () => this.#multiple.lost[0] && this.actions.jump(this.#multiple.lost[0]) });
  #value = h("span", { class: "cl-pv" });
  #grid = svg("path", { class: "cl-pg" });
  #labels = svg("g", { class: "cl-pl" });
  #lines = svg("g", { class: "cl-pc" });
  #crosses = svg("path", { class: "cl-px" });
  #since = svg("path", { class: "cl-px cl-since" });
  #window = svg("rect", { class: "cl-h-window", width: "0" });
  #veil = svg("path", { class: "cl-pw" });
  #drag = svg("rect", { class: "cl-h-drag", width: "0" });
  #cursor = svg("path", { class: "cl-pcur" });
  #dots = svg("g", { class: "cl-pc" });
  #drawing = svg("svg", { "aria-hidden": "true" });
  readonly area = h("div", { class: "cl-plot", role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "100" }, this.#drawing as unknown as Node);
  readonly element = h("div", { class: "cl-mult" }, h("div", { class: "cl-ph1" }, this.#name, this.#lost, h("span", { class: "cl-grow" }), this.#value), this.area);
  #multiple: Multiple = { name: "", lines: [], lost: [], least: Infinity, most: -Infinity };
  #axis!: Axis;
  #y: Scale = scaleOf(0, 1, false, 2);
  /** The keyboard's place, and where a range began with Shift. */
  #at: number | null = null;
  #begun: number | null = null;

  constructor(private readonly actions: PlotActions) {
    this.#drawing.append(this.#grid, this.#labels, this.#window, this.#since, this.#lines, this.#veil, this.#crosses, this.#drag, this.#cursor, this.#dots);
    this.#listen();
  }

  get multiple(): Multiple {
    return this.#multiple;
  }

  draw(multiple: Multiple, axis: Axis): void {
    this.#multiple = multiple;
    this.#axis = axis;
    const { name, lines, lost, least, most } = multiple;
    const { width, height } = axis;
    this.#y = scaleOf(least <= most ? least : 0, least <= most ? most : 1, axis.log, height > 90 ? 4 : 3);
    put(this.#drawing, "width", String(width));
    put(this.#drawing, "height", String(height));
    say(this.#name, name);
    this.#name.title = name;
    this.#sayLost(lost);
    const ticks = this.#y.ticks.map((value) => ({ value, y: this.#yOf(value) })).filter(({ y }) => y >= TOP - 4 && y <= height - BOTTOM + 1);
    put(this.#grid, "d", ticks.map(({ y }) => `M${LEFT} ${y.toFixed(1)}H${width - RIGHT}`).join(""));
    this.#labels.replaceChildren(...ticks.map(({ value, y }) => {
      const label = svg("text", { x: String(LEFT - 5), y: (y + 3.5).toFixed(1) });
      label.textContent = short(value, 3);
      return label;
    }));
    while (this.#lines.children.length > lines.length) this.#lines.lastChild!.remove();
    for (const [i, line] of lines.entries()) {
      const path = (this.#lines.children[i] as SVGElement | undefined) ?? this.#lines.appendChild(svg("path", {}));
      tint(path, line.hue);
      // So many points that lines become a surface: what is behind it shines through.
      path.classList.toggle("cl-dense", line.x.length > DENSE * width);
      put(path, "d", this.#path(line.x, line.value));
    }
    this.#cross(lost);
    this.#drawWindow();
    this.#tellNewest();
    put(this.area, "aria-label", this.#summary());
  }

  /** Shows what is at a place of the axis; null: what is newest. Answers the points, the nearest to `y` (px) first. */
  point(x: number | null, y = Number.NaN): Lost[] {
    const points = x === null ? [] : nearestOf(this.#multiple, x);
    const distance = (point: Lost): number => (Number.isFinite(valueOf(point)) ? Math.abs(this.#yOf(valueOf(point)) - y) : Math.abs(TOP - y));
    if (!Number.isNaN(y)) points.sort((a, b) => distance(a) - distance(b));
    this.#dots.replaceChildren(...points.slice(0, DOTS).filter((point) => Number.isFinite(valueOf(point))).map(({ line, at }, i) => tint(svg("circle", { cx: this.#xOf(line.x[at]).toFixed(1), cy: this.#yOf(line.value[at]).toFixed(1), r: i === 0 && !Number.isNaN(y) ? "3.5" : "2.5" }), line.hue)));
    put(this.#cursor, "d", x === null || points.length === 0 ? "" : `M${this.#xOf(x).toFixed(1)} ${TOP - 3}V${this.#axis.height - BOTTOM}`);
    if (points.length === 0) this.#tellNewest();
    else say(this.#value, short(valueOf(points[0])));
    return points;
  }

  /** In words, for a reader who does not see it. */
  tell(words: string, x: number): void {
    put(this.area, "aria-valuetext", words);
    put(this.area, "aria-valuenow", String(Math.round(100 * this.#share(x))));
  }

  /** A range that is being chosen. */
  range(a: number | null, b = 0): void {
    this.#band(this.#drag, a ?? 0, a === null ? 0 : b);
  }

  /** From the left edge of the plot, px. */
  xOf(x: number): number {
    return this.#xOf(x);
  }

  #share(x: number): number {
    const { from, to } = this.#axis;
    return Math.max(0, Math.min(1, (x - from) / Math.max(1e-9, to - from)));
  }

  #xOf(x: number): number {
    return LEFT + this.#share(x) * (this.#axis.width - LEFT - RIGHT);
  }

  #yOf(value: number): number {
    const { height } = this.#axis;
    return TOP + (1 - this.#y.at(value)) * (height - TOP - BOTTOM);
  }

  /** What is no number breaks a line; so does a step that begins anew. */
  #path(x: Float64Array, value: Float64Array): string {
    let path = "";
    let run: string[] = [];
    let last = Infinity;
    const end = (): void => {
      // A point alone is a dot.
      if (run.length > 0) path += run.length === 1 ? `M${run[0]}h0` : `M${run.join("L")}`;
      run = [];
    };
    for (let i = 0; i < x.length; i++) {
      const isLost = !Number.isFinite(value[i]);
      if (isLost || x[i] < last) end();
      if (isLost || Number.isNaN(x[i])) continue;
      run.push(`${this.#xOf(x[i]).toFixed(1)} ${this.#yOf(value[i]).toFixed(1)}`);
      last = x[i];
    }
    end();
    return path;
  }

  /** A cross where values first are none, and a bar as long as some are. */
  #cross(lost: Lost[]): void {
    const places = [...new Set(lost.map(({ line, at }) => line.x[at]).filter((x) => !Number.isNaN(x)).map((x) => Math.round(this.#xOf(x))))];
    const first = Math.min(...places);
    put(this.#crosses, "d", places.length === 0 ? "" : `M${first} ${TOP - 1}${CROSS}${places.map((x) => `M${x - 1} ${TOP - 4}h2`).join("")}`);
    put(this.#since, "d", places.length === 0 ? "" : `M${first} ${TOP + 4}V${this.#axis.height - BOTTOM}`);
  }

  /** As on the time axis; what is out of it is veiled. */
  #drawWindow(): void {
    const { low, high, from, to, height, width } = this.#axis;
    const all = low <= from && high >= to;
    this.#band(this.#window, low, all ? low : high);
    const veil = (left: number, right: number): string => (right - left > 0.5 ? `M${left.toFixed(1)} 0H${right.toFixed(1)}V${height}H${left.toFixed(1)}z` : "");
    put(this.#veil, "d", all ? "" : `${veil(LEFT, this.#xOf(low))}${veil(this.#xOf(high), width - RIGHT + 4)}`);
  }

  #band(rect: SVGElement, a: number, b: number): void {
    const [from, to] = [this.#xOf(Math.min(a, b)), this.#xOf(Math.max(a, b))];
    const { height } = this.#axis;
    for (const [name, value] of [["x", from], ["y", 1], ["width", a === b ? 0 : Math.max(1, to - from)], ["height", height - 2]] as const) put(rect, name, String(Number(value.toFixed(1))));
  }

  #sayLost(lost: Lost[]): void {
    const [first] = lost;
    this.#lost.hidden = first === undefined;
    if (first === undefined) return;
    const { line, at } = first;
    const what = Number.isNaN(line.value[at]) ? "NaN" : "Inf";
    say(this.#lost, `${what} from ${Number.isNaN(line.step[at]) ? shortClock(line.time[at], true) : `step ${grouped(line.step[at])}`}`);
    const title = `${this.#multiple.name} is ${what} first at ${shortClock(line.time[at], true)}${line.label ? `, in ${line.label}` : ""}: go to the line`;
    put(this.#lost, "title", title);
    put(this.#lost, "aria-label", title);
  }

  #newest(): Lost[] {
    return this.#multiple.lines.filter(({ value }) => value.length > 0).map((line) => ({ line, at: line.value.length - 1 }));
  }

  #tellNewest(): void {
    const newest = this.#newest().toSorted((a, b) => timeOf(b) - timeOf(a))[0];
    say(this.#value, newest ? short(valueOf(newest)) : "");
  }

  #summary(): string {
    const { name, lines, lost, least, most } = this.#multiple;
    const several = lines.length > 1 ? `, ${lines.length} sources` : "";
    const range = least <= most ? `, from ${short(least)} to ${short(most)}` : "";
    const newest = this.#newest().toSorted((a, b) => timeOf(b) - timeOf(a))[0];
    return `${name}${several}${range}${newest ? `, newest ${short(valueOf(newest))}` : ""}${lost.length > 0 ? `, ${this.#lost.textContent}` : ""}. Arrows move, Shift with arrows chooses a range, Enter goes to the line`;
  }

  #xAt(clientX: number): number {
    const { from, to, width } = this.#axis;
    const { left } = this.area.getBoundingClientRect();
    return from + Math.max(0, Math.min(1, (clientX - left - LEFT) / (width - LEFT - RIGHT))) * (to - from);
  }

  #listen(): void {
    const { area } = this;
    let down: number | null = null;
    area.addEventListener("pointerdown", (event: PointerEvent) => {
      if (event.button !== 0) return;
      down = event.clientX;
      area.setPointerCapture?.(event.pointerId);
      event.preventDefault();
      area.focus({ preventScroll: true });
    });
    let frame = 0;
    area.addEventListener("pointermove", ({ clientX, clientY }: PointerEvent) => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        const x = this.#xAt(clientX);
        this.#y0 = clientY - area.getBoundingClientRect().top;
        this.actions.point(this, x);
        if (down !== null && Math.abs(clientX - down) > CLICK) this.range(this.#xAt(down), x);
      });
    });
    area.addEventListener("pointerup", (event: PointerEvent) => {
      if (down === null) return;
      cancelAnimationFrame(frame);
      const [a, b] = [this.#xAt(down), this.#xAt(event.clientX)];
      const dragged = Math.abs(event.clientX - down) > CLICK;
      down = null;
      this.range(null);
      if (dragged) this.actions.narrow(Math.min(a, b), Math.max(a, b));
      else {
        const [point] = this.point(b, event.clientY - area.getBoundingClientRect().top);
        if (point) this.actions.jump(point);
      }
    });
    area.addEventListener("dblclick", () => this.actions.widen());
    area.addEventListener("pointerleave", () => {
      cancelAnimationFrame(frame);
      this.actions.point(this, null);
    });
    area.addEventListener("blur", () => this.#unset());
    area.addEventListener("keydown", (event) => this.#key(event));
  }

  /** The pointer's height, px. */
  #y0 = Number.NaN;

  get pointer(): number {
    return this.#at === null ? this.#y0 : Number.NaN;
  }

  #unset(): void {
    this.#at = this.#begun = null;
    this.range(null);
    this.actions.point(this, null);
  }

  #key(event: KeyboardEvent): void {
    const { from, to } = this.#axis;
    const step = (to - from) / 100;
    const by = { ArrowLeft: -step, ArrowRight: step, PageUp: -10 * step, PageDown: 10 * step, Home: from - to, End: to - from }[event.key];
    if (by !== undefined) {
      const now = this.#at ?? to;
      if (event.shiftKey) this.#begun ??= now;
      else this.#begun = null;
      this.#at = Math.max(from, Math.min(to, now + by));
      this.actions.point(this, this.#at);
      this.range(this.#begun, this.#at);
    } else if (event.key === "Enter" && this.#at !== null) {
      const [point] = nearestOf(this.#multiple, this.#at);
      if (this.#begun !== null) this.actions.narrow(Math.min(this.#begun, this.#at), Math.max(this.#begun, this.#at));
      else if (point) this.actions.jump(point);
      this.#begun = null;
      this.range(null);
    } else if (event.key === "Escape") {
      if (this.#begun === null) this.actions.widen();
      this.#unset();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

export function valueOf({ line, at }: Lost): number {
  return line.value[at];
}

/** Not as an attribute, see dom.ts. */
function tint(element: SVGElement, hue: number): SVGElement {
  element.style.setProperty("--h", String(hue));
  return element;
}

function grouped(step: number): string {
  return Number.isInteger(step) ? step.toLocaleString("en").replaceAll(",", "\u202f") : short(step);
}

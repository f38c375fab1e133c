/** The time bar: buttons for the window, and the lines over time with warnings, errors, gaps and events. Dragging chooses a range. */

import type { Filter } from "../protocol/requests.ts";
import type { ContainerSummary, Histogram, Mark } from "../protocol/update.ts";
import { colourStyle } from "../text/colours.ts";
import { groupDigits } from "../text/format.ts";
import { formatWindow } from "../text/time.ts";
import { button, focusOn, h, listen, setAttr, setClass, setText, svg } from "./dom.ts";
import { formatNotice } from "./row.ts";
import { formatMoment, timeTicks } from "./scale.ts";
import { sourceLabels } from "./sourcenames.ts";

const WINDOWS: [string, number | null][] = [["1m", 60_000], ["5m", 300_000], ["10m", 600_000], ["1h", 3_600_000], ["All", null]];
const OTHER_WINDOW = "Another window: 2h, 10:00 to 10:20, yesterday (W)";
const WIDTH_UNITS = 760;
const HEIGHT_PX = 34;
const TICKS = 5;
/** A drag over fewer pixels than this is a click. */
const CLICK_PX = 4;
/** Number of parts of a bar that the tip names. */
const MAX_NAMED = 6;
/** A bar is so high that a single line is visible, and so is a single warning or error (px). */
const LEAST_PX = 2;
const LEAST_SEVERE_PX = 3;
const MARKED_KINDS = new Set<Mark["kind"]>(["restart", "ended", "event", "end"]);

/** What the bars are split into. */
interface Part {
  label: string;
  className: string;
  colour: string;
  lines: Uint32Array;
  /** A single line of it is visible. */
  isSevere: boolean;
}

const OTHER_PODS = "other pods";
/** From the bottom of a bar to its top. */
const LEVEL_ORDER = ["error", "warning", "info", "debug"];

/** Name the parts of the bars, in the order of their stack. */
function nameParts({ parts }: Histogram, sources: ContainerSummary[]): Part[] | undefined {
  const byLevel = parts?.some(({ name }) => LEVEL_ORDER.includes(name));
  if (byLevel) return LEVEL_ORDER.flatMap((level) => parts!.filter(({ name }) => name === level).map(({ lines }) => ({ label: level, className: `cl-h-${level}`, colour: "", lines, isSevere: level === "error" || level === "warning" })));
  const labels = parts && sourceLabels(sources, ["pod"]);
  const order = (label: string): string => (label === OTHER_PODS ? "\uffff" : label);
  return parts?.map(({ name, lines }) => {
    const { short, colour } = labels![sources.findIndex(({ task, pod }) => `${task}/${pod}` === name)] ?? {};
    return { label: short ?? (name.slice(name.lastIndexOf("/") + 1) || OTHER_PODS), className: colour === undefined ? "cl-h-info" : "cl-h-pod", colour: colour === undefined ? "" : colourStyle(colour), lines, isSevere: false };
  }).toSorted((a, b) => order(a.label).localeCompare(order(b.label), undefined, { numeric: true }));
}

export class TimeBar {
  readonly element: HTMLElement;
  #buttons: HTMLButtonElement[];
  #other: HTMLButtonElement;
  #paths = ["all", "match", "warn", "err", "gap", "mark", "bad"].map((name) => svg("path", { class: `cl-h-${name}`, "vector-effect": "non-scaling-stroke" }));
  #split = svg("g", {});
  #parts: Part[] | undefined;
  #window = svg("rect", { class: "cl-h-window", y: "0", height: String(HEIGHT_PX) });
  #visible = svg("rect", { class: "cl-h-sight", y: String(HEIGHT_PX - 2), height: "2" });
  #drag = svg("rect", { class: "cl-h-drag", y: "0", height: String(HEIGHT_PX), width: "0" });
  #cursor = svg("rect", { class: "cl-h-cursor", y: "0", height: String(HEIGHT_PX), width: "0" });
  #drawing: SVGElement;
  #ticks = h("div", { class: "cl-ticks", "aria-hidden": "true" });
  #tip = h("div", { class: "cl-tip", role: "tooltip", hidden: true });
  #axis: HTMLElement;
  #histogram: Histogram | undefined;
  #filter: Pick<Filter, "since" | "from" | "until"> = { since: null, from: null, until: null };
  /** The keyboard's position on the axis, and the start of a range that is chosen with the keyboard (times, ms). */
  #keyTime: number | null = null;
  #rangeFrom: number | null = null;

  readonly #change: (change: Partial<Filter>) => void;
  readonly #jump: (time: number) => void;

  constructor(
    change: (change: Partial<Filter>) => void,
    jump: (time: number) => void,
    /** Ask the user for another window. */
    ask: () => void,
  ) {
    this.#change = change;
    this.#jump = jump;
    this.#buttons = WINDOWS.map(([label, window]) => {
      const title = window === null ? "The whole log" : `The last ${label}`;
      return h("button", { title, "aria-pressed": "false", onclick: () => change({ since: window, from: null, until: null }) }, label);
    });
    this.#other = button("…", OTHER_WINDOW, ask, { class: "", "aria-pressed": "false" });
    const id = `cl-hatch-${Math.random().toString(36).slice(2)}`;
    const hatch = svg("pattern", { id, width: "5", height: "5", patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    hatch.append(svg("rect", { class: "cl-h-hatch", width: "2.5", height: "5" }));
    this.#paths[4].setAttribute("fill", `url(#${id})`);
    this.#drawing = svg("svg", { viewBox: `0 0 ${WIDTH_UNITS} ${HEIGHT_PX}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.#drawing.append(hatch, this.#window, ...this.#paths.slice(0, 2), this.#split, ...this.#paths.slice(2), this.#visible, this.#drag, this.#cursor);
    this.#axis = h("div", { class: "cl-axis", role: "slider", tabindex: "0", "aria-label": "Time: arrows move, Shift with arrows chooses a range, Enter goes there, Escape shows all", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "100" }, this.#drawing as unknown as Node, this.#tip);
    this.element = h(
      "div",
      { class: "cl-time" },
      h("div", { class: "cl-seg", role: "group", "aria-label": "Window" }, ...this.#buttons, this.#other),
      h("div", { class: "cl-hist" }, this.#axis, this.#ticks),
    );
    this.#listen();
  }

  show(filter: Filter): void {
    this.#filter = filter;
    for (const [i, [, window]] of WINDOWS.entries()) this.#buttons[i].setAttribute("aria-pressed", String(filter.from === null && window === filter.since));
    const isOther = filter.from !== null || !WINDOWS.some(([, window]) => window === filter.since);
    this.#other.setAttribute("aria-pressed", String(isOther));
    const label = isOther && filter.from === null ? formatWindow(filter.since) : "…";
    setText(this.#other, label);
    // The name has the label, so that a user who speaks it finds the button.
    setAttr(this.#other, "aria-label", label === "…" ? OTHER_WINDOW : `${label}. ${OTHER_WINDOW}`);
    if (this.#histogram) this.#drawWindow();
  }

  /** Start of the axis (ms); 0 before there is one. */
  get from(): number {
    return this.#histogram?.from ?? 0;
  }

  /** Show which lines are visible. */
  showVisible(from: number | undefined, to: number | undefined): void {
    if (this.#histogram === undefined || from === undefined || to === undefined) return;
    this.#placeRect(this.#visible, Math.min(from, to), Math.max(from, to), 3);
  }

  draw(histogram: Histogram, live: boolean, sources: ContainerSummary[]): void {
    this.#histogram = histogram;
    this.#parts = nameParts(histogram, sources);
    const { bins, count, matches, from, to, marks = [] } = histogram;
    const step = WIDTH_UNITS / count;
    const paths = ["", "", "", "", "", "", ""];
    const split = (this.#parts ?? []).map(() => "");
    const [ALL, MATCH, WARN, ERR, GAP, MARK, BAD] = paths.keys();
    // Few matches among many lines would be invisible, so they have a scale of their own.
    let [highest, highestMatch] = [1, 1];
    for (let i = 0; i < count; i++) [highest, highestMatch] = [Math.max(highest, this.#linesAt(i)), Math.max(highestMatch, matches?.[i * 3] ?? 0)];
    const scale = matches === undefined ? highest : highestMatch;
    setClass(this.element, "cl-matched", matches !== undefined || this.#parts !== undefined);
    const gaps = marks.filter(({ kind }) => kind === "gap");
    for (let i = 0; i < count; i++) {
      const x = (i * step).toFixed(1);
      const bar = (height: number, base = 0): string => `M${x} ${(HEIGHT_PX - base).toFixed(1)}v-${height.toFixed(1)}h${(step * 0.8).toFixed(1)}v${height.toFixed(1)}z`;
      const [all, gap] = [this.#linesAt(i), bins[i * 4 + 3]];
      const heightOf = (lines: number, most: number): number => LEAST_PX + ((HEIGHT_PX - 2 * LEAST_PX) * lines) / most;
      // Draw at least some pixels, so that a single error among thousands of lines is visible.
      const heightOfSevere = (lines: number): number => (lines > 0 ? Math.max(LEAST_SEVERE_PX, (HEIGHT_PX * lines) / scale) : 0);
      if (all > 0) paths[ALL] += bar(heightOf(all, highest));
      if (this.#parts === undefined) {
        const [match, warn, err] = matches?.subarray(i * 3, i * 3 + 3) ?? [0, ...bins.subarray(i * 4 + 1, i * 4 + 3)];
        if (match > 0) paths[MATCH] += bar(heightOf(match, scale));
        if (err > 0) paths[ERR] += bar(heightOfSevere(err));
        if (warn > 0) paths[WARN] += bar(heightOfSevere(warn), heightOfSevere(err));
      } else {
        const known = this.#knownAt(i);
        let base = 0;
        for (const [at, { lines, isSevere }] of this.#parts.entries()) {
          if (lines[i] === 0) continue;
          const height = Math.max((heightOf(known, scale) * lines[i]) / known, isSevere ? LEAST_SEVERE_PX : 0);
          split[at] += bar(height, base);
          base += height;
        }
      }
      if (gap > 0 && gaps.length === 0) paths[GAP] += `M${x} 0h${Math.max(step, 4).toFixed(1)}v${HEIGHT_PX}h-${Math.max(step, 4).toFixed(1)}z`;
    }
    for (const { time, to: until } of gaps) {
      const [x, end] = [this.#x(time), this.#x(until)];
      paths[GAP] += `M${x.toFixed(1)} 0h${Math.max(4, end - x).toFixed(1)}v${HEIGHT_PX}h-${Math.max(4, end - x).toFixed(1)}z`;
    }
    for (const { kind, level, time } of marks) if (MARKED_KINDS.has(kind)) paths[level >= 5 || kind === "restart" ? BAD : MARK] += `M${this.#x(time).toFixed(1)} 0V${HEIGHT_PX}`;
    for (const [i, path] of this.#paths.entries()) setAttr(path, "d", paths[i]);
    this.#split.replaceChildren(...(this.#parts ?? []).map(({ className, colour }, i) => {
      const path = svg("path", { class: className, d: split[i] });
      path.style.cssText = colour;
      return path;
    }));
    this.#drawWindow();
    // The last label is the end of the axis.
    const times = timeTicks(from, to + (to - from) / TICKS, TICKS + 1);
    if (live && to > from) times[TICKS] = "now";
    if (this.#ticks.children.length !== times.length) this.#ticks.replaceChildren(...times.map(() => h("span", {})));
    for (const [i, time] of times.entries()) setText(this.#ticks.children[i] as HTMLElement, time);
  }

  /** Return the number of lines that are in a part of a bar. */
  #knownAt(bin: number): number {
    return this.#parts?.reduce((sum, { lines }) => sum + lines[bin], 0) ?? 0;
  }

  /** Return the number of lines of a bin. The outline spreads the lines of a batch over its time, so the parts are more exact where all lines are loaded. */
  #linesAt(bin: number): number {
    const { bins, matches, from, to, count, loaded } = this.#histogram!;
    const lines = bins[bin * 4];
    if (this.#parts === undefined || matches !== undefined) return lines;
    const [start, end] = [bin, bin + 1].map((i) => from + (i * (to - from)) / count);
    return loaded.some(([low, high]) => start >= low && end <= high) ? this.#knownAt(bin) : Math.max(lines, this.#knownAt(bin));
  }

  #drawWindow(): void {
    const { from, to, low } = this.#histogram!;
    const [begin, end] = this.#filter.from === null ? [low, to] : [this.#filter.from, this.#filter.until ?? to];
    const all = begin <= from && end >= to;
    if (all) setAttr(this.#window, "width", "0");
    else this.#placeRect(this.#window, begin, end, 1);
  }

  #x(time: number): number {
    const { from, to } = this.#histogram!;
    return Math.max(0, Math.min(WIDTH_UNITS, ((time - from) / Math.max(1, to - from)) * WIDTH_UNITS)) || 0;
  }

  #placeRect(rect: SVGElement, from: number, to: number, least: number): void {
    const x = this.#x(from);
    const width = Math.max(least, this.#x(to) - x);
    setAttr(rect, "x", Math.min(x, WIDTH_UNITS - width).toFixed(1));
    setAttr(rect, "width", width.toFixed(1));
  }

  #timeAt(clientX: number): number {
    const { left, width } = this.#axis.getBoundingClientRect();
    const { from, to } = this.#histogram!;
    return from + Math.max(0, Math.min(1, (clientX - left) / Math.max(1, width))) * (to - from);
  }

  #listen(): void {
    const axis = this.#axis;
    let down: number | null = null;
    listen(axis, "pointerdown", (event: PointerEvent) => {
      if (this.#histogram === undefined || event.button !== 0) return;
      down = event.clientX;
      axis.setPointerCapture?.(event.pointerId);
      event.preventDefault();
      focusOn(axis);
    });
    listen(axis, "pointermove", (event: PointerEvent) => {
      if (this.#histogram === undefined) return;
      this.#hover(event.clientX);
      if (down !== null && Math.abs(event.clientX - down) > CLICK_PX) this.#range(this.#timeAt(down), this.#timeAt(event.clientX));
    });
    listen(axis, "pointerup", (event: PointerEvent) => {
      if (down === null || this.#histogram === undefined) return;
      const [a, b] = [this.#timeAt(down), this.#timeAt(event.clientX)];
      const dragged = Math.abs(event.clientX - down) > CLICK_PX;
      down = null;
      this.#drag.setAttribute("width", "0");
      if (dragged) this.#narrow(a, b);
      else this.#jump(b);
    });
    listen(axis, "dblclick", () => this.#change({ since: null, from: null, until: null }));
    listen(axis, "pointerleave", () => {
      this.#tip.hidden = true;
      this.#cursor.setAttribute("width", "0");
    });
    listen(axis, "blur", () => this.#clear());
    listen(axis, "keydown", (event) => this.#key(event));
  }

  #range(a: number, b: number): void {
    this.#placeRect(this.#drag, Math.min(a, b), Math.max(a, b), 1);
  }

  #narrow(a: number, b: number): void {
    this.#change({ since: null, from: Math.floor(Math.min(a, b)), until: Math.ceil(Math.max(a, b)) });
  }

  #clear(): void {
    this.#keyTime = this.#rangeFrom = null;
    this.#tip.hidden = true;
    this.#drag.setAttribute("width", "0");
    this.#cursor.setAttribute("width", "0");
  }

  /** Describe the lines and notices at a position. */
  #hover(clientX: number): void {
    const { left, width } = this.#axis.getBoundingClientRect();
    this.#describe(this.#timeAt(clientX), Math.max(0, Math.min(width, clientX - left)), width);
  }

  #describe(time: number, x: number, width: number): void {
    const { from, to, bins, count, matches, matchesFrom, marks = [] } = this.#histogram!;
    const bin = (to - from) / count;
    const i = Math.max(0, Math.min(count - 1, Math.floor((time - from) / Math.max(1, bin))));
    const all = this.#linesAt(i);
    const [match, warn, err] = matches?.subarray(i * 3, i * 3 + 3) ?? bins.subarray(i * 4, i * 4 + 3);
    const near = Math.max(bin, ((to - from) * 4) / Math.max(1, width));
    const happened = marks.filter((mark) => time >= mark.time - near && time <= mark.to + near).slice(0, 3);
    const lines = `${groupDigits(all)} line${all === 1 ? "" : "s"}`;
    const matching = `${from + i * bin < matchesFrom ? "not all searched, " : ""}${groupDigits(match)} of ${lines}`;
    const counts = [matches === undefined ? lines : matching, warn > 0 ? `${groupDigits(warn)} warning${warn === 1 ? "" : "s"}` : "", err > 0 ? `${groupDigits(err)} error${err === 1 ? "" : "s"}` : ""].filter(Boolean).join(", ");
    const at = (ms: number): string => formatMoment(ms, Math.max(0, bin), to - from);
    const words = [`${at(time)} · ${counts}`, ...this.#describeParts(i, matches === undefined ? all : match), ...happened.map(({ text }) => formatNotice(text, at))];
    setText(this.#tip, words.join("\n"));
    this.#tip.hidden = false;
    this.#tip.style.left = `${Math.round(Math.min(x, width - 40))}px`;
    this.#tip.style.transform = `translateX(${x > width / 2 ? "-100%" : "0"})`;
    this.#placeRect(this.#cursor, time, time, 1);
    this.#axis.setAttribute("aria-valuetext", words.join(". "));
    this.#axis.setAttribute("aria-valuenow", String(Math.round((100 * (time - from)) / Math.max(1, to - from))));
  }

  /** Return the largest parts of a bar as text, in the order of their stack, and how many lines are in none. */
  #describeParts(bin: number, lines: number): string[] {
    const parts = this.#parts?.map(({ label, lines: counts }) => ({ label, count: counts[bin] })).filter(({ count }) => count > 0) ?? [];
    const least = parts.map(({ count }) => count).toSorted((a, b) => b - a)[MAX_NAMED - 1] ?? 0;
    const named = parts.filter(({ count }) => count >= least).slice(0, MAX_NAMED);
    const further = parts.filter((part) => !named.includes(part)).reduce((sum, { count }) => sum + count, 0);
    const unloaded = this.#parts === undefined ? 0 : lines - this.#knownAt(bin);
    const words = [...named, { label: "others", count: further }, { label: "not loaded", count: unloaded }].filter(({ count }) => count > 0);
    return words.length === 0 ? [] : [words.map(({ label, count }) => `${label} ${groupDigits(count)}`).join(", ")];
  }

  #key(event: KeyboardEvent): void {
    if (this.#histogram === undefined) return;
    const { from, to, count } = this.#histogram;
    const step = (to - from) / count;
    const by = { ArrowLeft: -step, ArrowRight: step, PageUp: -10 * step, PageDown: 10 * step, Home: from - to, End: to - from }[event.key];
    if (by !== undefined) {
      const now = this.#keyTime ?? to;
      if (event.shiftKey) this.#rangeFrom ??= now;
      else this.#rangeFrom = null;
      this.#keyTime = Math.max(from, Math.min(to, now + by));
      const { width } = this.#axis.getBoundingClientRect();
      this.#describe(this.#keyTime, ((this.#keyTime - from) / Math.max(1, to - from)) * width, width);
      if (this.#rangeFrom === null) this.#drag.setAttribute("width", "0");
      else this.#range(this.#rangeFrom, this.#keyTime);
    } else if (event.key === "Enter" && this.#keyTime !== null) {
      if (this.#rangeFrom === null) this.#jump(this.#keyTime);
      else this.#narrow(this.#rangeFrom, this.#keyTime);
      this.#rangeFrom = null;
      this.#drag.setAttribute("width", "0");
    } else if (event.key === "Escape" && (this.#rangeFrom !== null || this.#filter.from !== null)) {
      if (this.#rangeFrom === null) this.#change({ since: null, from: null, until: null });
      this.#clear();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

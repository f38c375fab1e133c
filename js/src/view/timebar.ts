/** When: the windows, and the volume of lines over time with warnings, errors and gaps. */

import type { Histogram } from "../types.ts";
import { h, svg } from "./dom.ts";
import { shortClock } from "./format.ts";

const WINDOWS: [string, number | null][] = [["1m", 60_000], ["5m", 300_000], ["10m", 600_000], ["1h", 3_600_000], ["All", null]];
const WIDTH = 760;
const HEIGHT = 34;
const TICKS = 5;

export class TimeBar {
  readonly element: HTMLElement;
  #buttons: HTMLButtonElement[];
  #paths = ["all", "warn", "err", "gap"].map((name) => svg("path", { class: `cl-h-${name}` }));
  #window = svg("rect", { class: "cl-h-window", y: "0", height: String(HEIGHT) });
  #ticks = h("div", { class: "cl-ticks", "aria-hidden": "true" });

  constructor(choose: (since: number | null) => void) {
    this.#buttons = WINDOWS.map(([label, window]) => {
      const title = window === null ? "The whole log" : `The last ${label}`;
      return h("button", { type: "button", title, "aria-pressed": "false", onclick: () => choose(window) }, label);
    });
    const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": "Lines over time" });
    drawing.append(...this.#paths, this.#window);
    this.element = h(
      "div",
      { class: "cl-time" },
      h("div", { class: "cl-seg", role: "group", "aria-label": "Window" }, ...this.#buttons),
      h("div", { class: "cl-hist" }, drawing as unknown as Node, this.#ticks),
    );
  }

  show(since: number | null): void {
    for (const [i, [, window]] of WINDOWS.entries()) this.#buttons[i].setAttribute("aria-pressed", String(window === since));
  }

  draw({ bins, count, from, to, low }: Histogram): void {
    let highest = 1;
    for (let i = 0; i < count; i++) highest = Math.max(highest, bins[i * 4]);
    const step = WIDTH / count;
    const paths = ["", "", "", ""];
    for (let i = 0; i < count; i++) {
      const x = (i * step).toFixed(1);
      const bar = (height: number): string => `M${x} ${HEIGHT}v-${height.toFixed(1)}h${(step * 0.8).toFixed(1)}v${height.toFixed(1)}z`;
      const [all, warn, err, gap] = bins.subarray(i * 4, i * 4 + 4);
      if (all > 0) paths[0] += bar(2 + ((HEIGHT - 4) * all) / highest);
      // A single error among thousands of lines must still be seen.
      const errors = err > 0 ? Math.max(3, (HEIGHT * err) / highest) : 0;
      if (err > 0) paths[2] += bar(errors);
      if (warn > 0) paths[1] += bar(errors + Math.max(3, (HEIGHT * warn) / highest));
      if (gap > 0) paths[3] += `M${x} 0h${Math.max(step, 4).toFixed(1)}v${HEIGHT}h-${Math.max(step, 4).toFixed(1)}z`;
    }
    for (const [i, path] of this.#paths.entries()) path.setAttribute("d", paths[i]);
    const start = Math.max(0, Math.min(WIDTH, ((low - from) / Math.max(1, to - from)) * WIDTH)) || 0;
    this.#window.setAttribute("x", start.toFixed(1));
    this.#window.setAttribute("width", (start <= 1 ? 0 : WIDTH - start).toFixed(1));
    const seconds = to - from < 600_000;
    const ticks = Array.from({ length: TICKS }, (_unused, i) => (to > from ? shortClock(from + ((to - from) * i) / TICKS, seconds) : ""));
    this.#ticks.replaceChildren(...ticks.map((tick) => h("span", {}, tick)), h("span", {}, to > from ? shortClock(to, seconds) : ""));
  }
}

/** What moves over a plot: a line at the pointer's place, the points there, a range being chosen. Apart from the curves, which need not be painted again for it. */

import { setAttr, svg } from "./dom.ts";
import { type CurvePoint, valueOf } from "./multiples.ts";
import { BOTTOM, type PlotFrame, TOP } from "./plotframe.ts";

/** Points of a place that are marked. */
const MAX_DOTS = 12;

export class PlotOverlay {
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

  /** Points of a place of the axis; the first is the nearest where `near`. */
  show(x: number | null, points: CurvePoint[], near: boolean): void {
    const frame = this.#frame;
    const dots = points.slice(0, MAX_DOTS).filter((point) => Number.isFinite(valueOf(point)));
    while (this.#dots.children.length > dots.length) this.#dots.lastChild!.remove();
    for (const [i, { line, at }] of dots.entries()) {
      const dot = (this.#dots.children[i] as SVGElement | undefined) ?? this.#dots.appendChild(svg("circle", {}));
      setHue(dot, line.hue);
      setAttr(dot, "cx", frame.xOf(line.x[at]).toFixed(1));
      setAttr(dot, "cy", frame.yOf(line.value[at]).toFixed(1));
      setAttr(dot, "r", i === 0 && near ? "3.5" : "2.5");
    }
    setAttr(this.#cursor, "d", x === null || points.length === 0 ? "" : `M${frame.xOf(x).toFixed(1)} ${TOP - 3}V${frame.axis.height - BOTTOM}`);
  }

  /** A range that is being chosen; null: none. */
  range(a: number | null, b = 0): void {
    placeBand(this.#drag, this.#frame, a ?? 0, a === null ? 0 : b);
  }
}

/** A stretch of the axis, from top to bottom. */
export function placeBand(rect: SVGElement, frame: PlotFrame, a: number, b: number): void {
  const [from, to] = [frame.xOf(Math.min(a, b)), frame.xOf(Math.max(a, b))];
  for (const [name, value] of [["x", from], ["y", 1], ["width", a === b ? 0 : Math.max(1, to - from)], ["height", frame.axis.height - 2]] as const) setAttr(rect, name, String(Number(value.toFixed(1))));
}

/** Not as an attribute, see dom.ts. */
export function setHue(element: SVGElement, hue: number): void {
  const value = String(hue);
  if (element.style.getPropertyValue("--h") !== value) element.style.setProperty("--h", value);
}

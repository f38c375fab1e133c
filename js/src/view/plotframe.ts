/** Where times, steps and values stand in a plot, px. */

import type { Scale } from "./scale.ts";

export const LEFT = 40;
export const RIGHT = 8;
export const TOP = 7;
export const BOTTOM = 5;

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

export class PlotFrame {
  constructor(
    readonly axis: Axis,
    readonly scale: Scale,
  ) {}

  /** How far along the axis, 0 to 1. */
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

  /** What of the axis stands so far from the left edge. */
  at(px: number): number {
    const { from, to, width } = this.axis;
    return from + Math.max(0, Math.min(1, (px - LEFT) / (width - LEFT - RIGHT))) * (to - from);
  }
}

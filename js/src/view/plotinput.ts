/** The pointer and the keyboard in a plot: a place, a range, a click. */

import type { Plot, PlotActions } from "./plot.ts";

/** Less than this is a click, px. */
const CLICK_PX = 4;

export function listenToInput(plot: Plot, actions: PlotActions): void {
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
  area.addEventListener("pointerdown", (event: PointerEvent) => {
    if (event.button !== 0) return;
    down = event.clientX;
    area.setPointerCapture?.(event.pointerId);
    event.preventDefault();
    area.focus({ preventScroll: true });
  });
  area.addEventListener("pointermove", (event: PointerEvent) => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      const { x, y, from } = place(event, down ?? undefined);
      actions.point(plot, x, y);
      if (down !== null && Math.abs(event.clientX - down) > CLICK_PX) plot.overlay.range(from, x);
    });
  });
  area.addEventListener("pointerup", (event: PointerEvent) => {
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
  area.addEventListener("dblclick", () => actions.widen());
  area.addEventListener("pointerleave", () => {
    cancelAnimationFrame(frame);
    actions.point(plot, null, Number.NaN);
  });
}

function listenToKeys(plot: Plot, actions: PlotActions): void {
  /** The place, and where a range began with Shift. */
  let [at, begun]: (number | null)[] = [null, null];
  const unset = (): void => {
    at = begun = null;
    plot.overlay.range(null);
    actions.point(plot, null, Number.NaN);
  };
  plot.area.addEventListener("blur", unset);
  plot.area.addEventListener("keydown", (event) => {
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

/** The lower edge, to be dragged or moved with the arrow keys: how high the viewer is. */

import { h } from "./dom.ts";

const MIN_HEIGHT_PX = 200;
const MAX_HEIGHT_PX = 3000;
const STEP_PX = 40;

/** `keep` is told what the reader has chosen, px. */
export function heightGrip(root: HTMLElement, keep: (height: number) => void): HTMLElement {
  const element = h("div", { class: "cl-grip", role: "separator", "aria-orientation": "horizontal", "aria-label": "Height", tabindex: "0", title: "Drag to change the height" });
  const set = (height: number): void => {
    const bounded = Math.round(Math.max(MIN_HEIGHT_PX, Math.min(MAX_HEIGHT_PX, height)));
    root.style.setProperty("--height", `${bounded}px`);
    keep(bounded);
  };
  element.addEventListener("pointerdown", (down: PointerEvent) => {
    const [from, height] = [down.clientY, root.offsetHeight];
    element.setPointerCapture(down.pointerId);
    const move = (event: PointerEvent): void => root.style.setProperty("--height", `${Math.max(MIN_HEIGHT_PX, height + event.clientY - from)}px`);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", () => {
      element.removeEventListener("pointermove", move);
      set(root.offsetHeight);
    }, { once: true });
    down.preventDefault();
  });
  element.addEventListener("keydown", (event) => {
    const by = { ArrowDown: STEP_PX, ArrowUp: -STEP_PX }[event.key];
    if (by === undefined) return;
    set(root.offsetHeight + by);
    event.preventDefault();
    event.stopPropagation();
  });
  return element;
}

/**
 * Draws updates while the view is visible: the first at once, so that it is in the next frame, further ones once in a frame.
 * No line is lost meanwhile: the worker holds them.
 */

import type { Update } from "../protocol/update.ts";
import { errorMessage } from "../text/format.ts";

/** Minimum time between two acknowledgements (ms): about two in an animation frame. */
const ACK_EVERY_MS = 8;

export interface PainterActions {
  draw(update: Update): void;
  /** Ask the worker for the next update. */
  ack(): void;
  /** The view became visible or invisible. */
  visibilityChanged(seen: boolean): void;
  showError(message: string): void;
}

export class Painter {
  #pending: Update | undefined;
  #frame = 0;
  #isIntersecting = true;
  #isHeldBack = false;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #ackedAt = 0;
  #observer: IntersectionObserver | undefined;

  readonly #actions: PainterActions;

  constructor(
    root: HTMLElement,
    actions: PainterActions,
  ) {
    this.#actions = actions;
    if (typeof IntersectionObserver === "function") {
      this.#observer = new IntersectionObserver((entries) => {
        this.#isIntersecting = entries[entries.length - 1].isIntersecting;
        this.#shown();
      });
      this.#observer.observe(root);
    }
    document.addEventListener("visibilitychange", this.#shown);
  }

  get isVisible(): boolean {
    return this.#isIntersecting && !document.hidden;
  }

  readonly #shown = (): void => {
    this.#actions.visibilityChanged(this.isVisible);
    if (this.isVisible && this.#isHeldBack) this.#schedule();
  };

  receive(update: Update): void {
    update.sources ??= this.#pending?.sources;
    update.histogram ??= this.#pending?.histogram;
    update.ticks ??= this.#pending?.ticks;
    update.chart ??= this.#pending?.chart;
    update.jump ??= this.#pending?.jump;
    // The sought row is sent only once. If rows were added since, it has moved.
    if (this.#pending?.seekRow !== undefined) update.seekRow ??= this.#pending.seekRow + update.shift;
    this.#pending = update;
    if (this.isVisible) this.#schedule();
    else this.#isHeldBack = true;
  }

  close(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#ackTimer);
    this.#observer?.disconnect();
    document.removeEventListener("visibilitychange", this.#shown);
  }

  /** Acknowledge before the frame is drawn, so that an update that arrives in the meantime is drawn in the same frame. */
  #ack(): void {
    const wait = Math.max(0, this.#ackedAt + ACK_EVERY_MS - performance.now());
    this.#ackTimer ??= setTimeout(() => {
      this.#ackTimer = undefined;
      this.#ackedAt = performance.now();
      this.#actions.ack();
    }, wait);
  }

  #schedule(): void {
    this.#isHeldBack = false;
    this.#ack();
    if (this.#frame === 0) this.#draw();
  }

  readonly #draw = (): void => {
    this.#frame = 0;
    if (this.#pending === undefined) return;
    const update = this.#pending;
    this.#pending = undefined;
    this.#frame = requestAnimationFrame(this.#draw);
    try {
      this.#actions.draw(update);
    } catch (reason) {
      this.#actions.showError(`The viewer failed to draw: ${errorMessage(reason)}`);
    }
  };
}

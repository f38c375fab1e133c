/** When the store's updates are drawn: once a frame, and only while somebody can see them; the store keeps all lines meanwhile. */

import type { Update } from "../types/update.ts";

/** Least time between two acknowledgements: about two updates a frame. */
const ACK_AGAIN = 8;

export interface PainterActions {
  draw(update: Update): void;
  /** The next update may be sent. */
  ack(): void;
  /** Whether anybody can see it has changed. */
  sight(seen: boolean): void;
  complain(message: string): void;
}

export class Painter {
  #pending: Update | undefined;
  #frame = 0;
  #visible = true;
  #held = false;
  #acking: ReturnType<typeof setTimeout> | undefined;
  #ackedAt = 0;
  #seen: IntersectionObserver | undefined;

  constructor(
    root: HTMLElement,
    private readonly actions: PainterActions,
  ) {
    if (typeof IntersectionObserver === "function") {
      this.#seen = new IntersectionObserver((entries) => {
        this.#visible = entries[entries.length - 1].isIntersecting;
        this.#shown();
      });
      this.#seen.observe(root);
    }
    document.addEventListener("visibilitychange", this.#shown);
  }

  get seen(): boolean {
    return this.#visible && !document.hidden;
  }

  readonly #shown = (): void => {
    if (this.seen && this.#held) this.#schedule();
    this.actions.sight(this.seen);
  };

  receive(update: Update): void {
    update.sources ??= this.#pending?.sources;
    update.histogram ??= this.#pending?.histogram;
    update.chart ??= this.#pending?.chart;
    update.jump ??= this.#pending?.jump;
    // The place that was sought is said once; the row that is there may have another number by now.
    if (this.#pending?.seek !== undefined) update.seek ??= this.#pending.seek + update.shift;
    this.#pending = update;
    if (this.seen) this.#schedule();
    else this.#held = true;
  }

  close(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#acking);
    this.#seen?.disconnect();
    document.removeEventListener("visibilitychange", this.#shown);
  }

  /** Not only after the frame: what arrives before it is drawn with it, a line must not wait for the frame after. */
  #ack(): void {
    const wait = Math.max(0, this.#ackedAt + ACK_AGAIN - performance.now());
    this.#acking ??= setTimeout(() => {
      this.#acking = undefined;
      this.#ackedAt = performance.now();
      this.actions.ack();
    }, wait);
  }

  #schedule(): void {
    this.#held = false;
    this.#ack();
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      try {
        if (this.#pending) this.actions.draw(this.#pending);
      } catch (reason) {
        this.actions.complain(`The viewer failed to draw: ${reason instanceof Error ? reason.message : String(reason)}`);
      }
      this.#pending = undefined;
    });
  }
}

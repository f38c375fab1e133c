/** What time it is at the nodes, which is that of the lines. */

/** Of so many measurements the greatest holds: each is late by its way here. */
const SAMPLES = 8;
/** A `Date` header is cut to the second. */
const HALF_SECOND_MS = 500;

export class ClusterClock {
  #measured: number[] = [];
  #server: number | undefined;

  /** A heartbeat or a state told the nodes' time. */
  setNodeTime(time: number): void {
    this.#measured.push(time - Date.now());
    if (this.#measured.length > SAMPLES) this.#measured.shift();
  }

  /** An answer told the server's time, which stands in until the nodes' is known. */
  setServerTime(time: number): void {
    this.#server = time + HALF_SECOND_MS - Date.now();
  }

  /** How far the nodes' clock is ahead of the page's, ms. */
  get ahead(): number {
    return this.#measured.length > 0 ? Math.max(...this.#measured) : 0;
  }

  /** Never before the newest line. */
  now(newest: number): number {
    const offset = this.#measured.length > 0 ? this.ahead : this.#server;
    return offset === undefined ? newest || Date.now() : Math.max(newest, Date.now() + offset);
  }
}

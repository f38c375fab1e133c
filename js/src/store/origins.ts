/** One store for each cluster and store that the page's kernels read: tasks of one name in two of them are two tasks. */

import { withOrigin } from "../transport/config.ts";
import type { FromStore, PageConfig, ToStore } from "../types/messages.ts";
import { Engine } from "./engine.ts";

/** A model that comes back in this time (a cell that is run again), ms, finds what was held. */
const KEEP_MS = 10_000;

export class Origins {
  readonly #engines = new Map<string, Engine>();
  readonly #models = new Map<string, string>();
  readonly #views = new Map<string, string>();
  #config: PageConfig = { base: "", headers: {} };

  constructor(
    private readonly post: (message: FromStore) => void,
    private readonly guarded: boolean,
    private readonly fetcher?: typeof fetch,
  ) {}

  receive(message: ToStore): void {
    switch (message.op) {
      case "ping":
        this.post({ op: "pong" });
        break;
      case "config":
        this.#config = message.config;
        for (const [origin, engine] of this.#engines) engine.receive({ op: "config", config: withOrigin(this.#config, origin) });
        break;
      case "wake":
        for (const engine of this.#engines.values()) engine.receive(message);
        break;
      case "subscribe":
        this.#models.set(message.model, message.origin ?? "");
        this.#engine(message.origin ?? "").receive(message);
        break;
      case "unsubscribe": {
        const origin = this.#models.get(message.model) ?? "";
        this.#engine(origin).receive(message);
        this.#models.delete(message.model);
        setTimeout(() => this.#release(origin), KEEP_MS);
        break;
      }
      case "comm":
      case "retry":
        this.#engine(this.#models.get(message.model) ?? "").receive(message);
        break;
      default:
        if (message.op === "view") this.#views.set(message.view, this.#models.get(message.model) ?? "");
        this.#engine(this.#views.get(message.view) ?? "").receive(message);
        if (message.op === "close") this.#views.delete(message.view);
    }
  }

  stop(): void {
    for (const engine of this.#engines.values()) engine.stop();
  }

  #engine(origin: string): Engine {
    let engine = this.#engines.get(origin);
    if (engine === undefined) {
      // What is said of tasks by name goes to those models only that mean the same by it.
      const post = (message: FromStore): void => this.post(message.op === "summary" || message.op === "clock" ? { ...message, origin } : message);
      this.#engines.set(origin, (engine = new Engine(post, this.guarded, this.fetcher)));
      engine.receive({ op: "config", config: withOrigin(this.#config, origin) });
    }
    return engine;
  }

  #release(origin: string): void {
    if ([...this.#models.values(), ...this.#views.values()].includes(origin)) return;
    this.#engines.get(origin)?.stop();
    this.#engines.delete(origin);
  }
}

/**
 * The entry point of the worker. It runs one engine for each cluster and store (an origin) that the page's kernels read, because
 * the same name means different tasks in two of them.
 */

import type { FromStore, PageConfig, ToStore } from "../protocol/messages.ts";
import { errorMessage } from "../text/format.ts";
import { withOrigin } from "../transport/http.ts";
import type { Charts } from "./charts.ts";
import { Engine } from "./engine.ts";
import { LineMemory } from "./eviction.ts";

/** Lines are kept this long (ms) after their last model has gone, because a cell that runs again makes a new model. */
const KEEP_MS = 10_000;

interface ChartsModule {
  Charts: typeof Charts;
}

/** Start the code for charts, which is a script of its own because most views show no chart. */
async function importCharts(code: string): Promise<ChartsModule> {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  try {
    return (await import(/* @vite-ignore */ url)) as ChartsModule;
  } finally {
    URL.revokeObjectURL(url);
  }
}

export class Origins {
  readonly #engines = new Map<string, Engine>();
  readonly #memory = new LineMemory();
  readonly #models = new Map<string, string>();
  readonly #views = new Map<string, string>();
  /** The last such message since the last ping. An equal one is not sent again. */
  #testing: Extract<FromStore, { op: "testing" }> | undefined;
  #config: PageConfig = { base: "", headers: {} };
  /** The class of the page's code for charts, once it has been started. */
  #Charts: typeof Charts | undefined;

  readonly #post: (message: FromStore) => void;
  readonly #guarded: boolean;
  readonly #fetcher: (typeof fetch) | undefined;
  readonly #loadCharts: (code: string) => Promise<ChartsModule>;

  constructor(
    post: (message: FromStore) => void,
    guarded: boolean,
    fetcher?: typeof fetch,
    loadCharts = importCharts,
  ) {
    this.#post = post;
    this.#guarded = guarded;
    this.#fetcher = fetcher;
    this.#loadCharts = loadCharts;
  }

  receive(message: ToStore): void {
    switch (message.op) {
      case "ping":
        this.#testing = undefined;
        this.#post({ op: "pong" });
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
      case "chartCode":
        void this.#startCharts(message.code);
        break;
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
    this.#engines.clear();
  }

  async #startCharts(code: string): Promise<void> {
    try {
      this.#Charts = (await this.#loadCharts(code)).Charts;
      for (const engine of this.#engines.values()) engine.useCharts(this.#Charts);
    } catch (reason) {
      this.#post({ op: "chartFailed", reason: errorMessage(reason) });
    }
  }

  #engine(origin: string): Engine {
    let engine = this.#engines.get(origin);
    if (engine === undefined) {
      // Tasks of different origins can have the same name, so a summary goes only to models of its origin.
      const post = (message: FromStore): void => {
        if (message.op === "testing") {
          if (message.view === this.#testing?.view && message.find === this.#testing.find) return;
          this.#testing = message;
        }
        this.#post(message.op === "summary" || message.op === "clock" ? { ...message, origin } : message);
      };
      this.#engines.set(origin, (engine = new Engine(post, this.#guarded, this.#fetcher, this.#memory)));
      engine.receive({ op: "config", config: withOrigin(this.#config, origin) });
      if (this.#Charts) engine.useCharts(this.#Charts);
    }
    return engine;
  }

  #release(origin: string): void {
    if ([...this.#models.values(), ...this.#views.values()].includes(origin)) return;
    this.#engines.get(origin)?.stop();
    this.#engines.delete(origin);
  }
}

/** Start the store in the page itself. */
export function connect(post: (message: FromStore) => void): Origins {
  return new Origins(post, false);
}

interface Scope {
  addEventListener(type: "message", listener: (event: MessageEvent<ToStore>) => void): void;
  postMessage(message: FromStore): void;
}

if (typeof document === "undefined" && typeof self !== "undefined" && "importScripts" in self) {
  const scope = self as unknown as Scope;
  const origins = new Origins((message) => scope.postMessage(message), true);
  scope.addEventListener("message", ({ data }) => origins.receive(data));
  scope.postMessage({ op: "ready" });
}

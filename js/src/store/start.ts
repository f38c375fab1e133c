/** Starts the store: as a worker from a blob: URL, else the same code imported into the page. */

import type { FromStore, ToStore } from "../types/messages.ts";
import { type Connection, StoreClient } from "./client.ts";

const CLIENT_KEY = Symbol.for("cortex-jupyter/v1");

interface StoreModule {
  connect(post: (message: FromStore) => void): (message: ToStore) => void;
}

function startStore(code: string, onMessage: (message: FromStore) => void): Connection {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  let early: ToStore[] | undefined = [];
  let deliver: (message: ToStore) => void = (message) => early?.push(message);
  let worker: Worker | undefined;
  let stopped = false;

  const begin = (send: (message: ToStore) => void): void => {
    deliver = send;
    for (const message of early ?? []) send(message);
    early = undefined;
  };
  const inPage = async (): Promise<void> => {
    worker?.terminate();
    worker = undefined;
    try {
      const store = (await import(/* @vite-ignore */ url)) as StoreModule;
      if (!stopped) begin(store.connect(onMessage));
    } catch (reason) {
      console.error("[cortex-jupyter] the viewer's store could not be started", reason);
    }
  };
  try {
    worker = new Worker(url, { type: "module", name: "cortex-jupyter" });
    worker.addEventListener("error", (event) => {
      // Before it is ready: forbidden here. Later: a fault of ours.
      if (early === undefined) console.error("[cortex-jupyter]", event.message);
      else void inPage();
    });
    worker.addEventListener("message", ({ data }: MessageEvent<FromStore>) => {
      if (data.op === "ready" && worker) begin((message) => worker?.postMessage(message, transfers(message)));
      else onMessage(data);
    });
  } catch {
    void inPage();
  }
  return {
    post: (message) => deliver(message),
    stop: () => {
      stopped = true;
      worker?.terminate();
      URL.revokeObjectURL(url);
    },
  };
}

function transfers(message: ToStore): Transferable[] {
  return message.op === "comm" && message.bytes !== undefined ? [message.bytes.buffer as ArrayBuffer] : [];
}

function wakeOnReturn(hub: StoreClient): StoreClient {
  for (const event of ["online", "focus"]) addEventListener(event, () => hub.wake());
  document.addEventListener("visibilitychange", () => document.hidden || hub.wake());
  return hub;
}

/** Every model has its own instance of this module: only globalThis is the page's. */
export function pageStoreClient(code: string): StoreClient {
  const page = globalThis as unknown as Record<symbol, StoreClient | undefined>;
  return (page[CLIENT_KEY] ??= wakeOnReturn(new StoreClient((onMessage) => startStore(code, onMessage))));
}

/** The worker's code as a browser runs it: bundled, and in a thread of its own. A thread of node stands for the browser's worker. */

import { URL as NodeURL } from "node:url";
import { Worker as Thread } from "node:worker_threads";
import * as esbuild from "esbuild";
import { vi } from "vitest";
import { startStore, StoreClient } from "../src/client/storeclient.ts";

/** What a worker finds in a browser and not in node. */
const SCOPE = `
import { parentPort } from "node:worker_threads";
globalThis.self = globalThis;
globalThis.importScripts = () => {};
globalThis.postMessage = (message) => parentPort.postMessage(message);
globalThis.addEventListener = (type, listener) => parentPort.on(type, (data) => listener({ data }));
globalThis.Blob = class { constructor(parts) { this.parts = parts; } };
URL.createObjectURL = (blob) => "data:text/javascript," + encodeURIComponent(blob.parts.join(""));
`;

const bundle = esbuild.build({ entryPoints: ["src/store/worker.ts", "src/store/charts.ts"], bundle: true, format: "esm", target: "es2022", write: false, outdir: "." });

async function codeOf(name: string): Promise<string> {
  return (await bundle).outputFiles.find(({ path }) => path.endsWith(`/${name}.js`))!.text;
}

/** Return the worker's code. */
export const storeCode = (): Promise<string> => codeOf("worker");
/** Return the code for charts. */
export const chartCode = (): Promise<string> => codeOf("charts");

const asModule = (code: string): NodeURL => new NodeURL(`data:text/javascript;base64,${Buffer.from(code).toString("base64")}`);

const threads: BrowserWorker[] = [];

class BrowserWorker {
  static started = 0;
  readonly #thread: Thread;

  constructor(url: string) {
    BrowserWorker.started++;
    threads.push(this);
    this.#thread = new Thread(asModule(SCOPE + decodeURIComponent(url.slice("data:text/javascript,".length))));
    this.#thread.on("error", (error) => console.warn(error));
  }

  addEventListener(type: string, listener: (event: { data: unknown }) => void): void {
    if (type === "message") this.#thread.on("message", (data) => listener({ data }));
  }

  postMessage(message: unknown): void {
    this.#thread.postMessage(message);
  }

  terminate(): void {
    void this.#thread.terminate();
  }
}

/** Let `startStore` find workers. */
export function stubWorkers(worker: unknown = BrowserWorker): void {
  BrowserWorker.started = 0;
  vi.stubGlobal("Worker", worker);
  vi.stubGlobal("Blob", class { constructor(readonly parts: (string | DataView)[]) {} });
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => `data:text/javascript,${encodeURIComponent((blob as unknown as { parts: (string | DataView)[] }).parts.map((part) => (typeof part === "string" ? part : new TextDecoder().decode(part))).join(""))}`);
  vi.spyOn(URL, "revokeObjectURL").mockImplementation(() => {});
}

/** Return the client of a page that has just been loaded, with a real worker. */
export async function realClient(readChartCode = chartCode): Promise<StoreClient> {
  stubWorkers();
  const code = await storeCode();
  return new StoreClient((onMessage) => startStore(code, onMessage), readChartCode);
}

export function workersStarted(): number {
  return BrowserWorker.started;
}

export function stopWorkers(): void {
  for (const thread of threads.splice(0)) thread.terminate();
}

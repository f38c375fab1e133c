// Memory of the store against the text it holds, in Node: node --expose-gc harness/memory.mjs [lines]
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as esbuild from "esbuild";

const lines = Number(process.argv[2] ?? 1_000_000);
const entry = 'export { TaskStore } from "./src/store/taskstore.ts"; export { Selection } from "./src/store/selection.ts"; export { fromPlain } from "./src/client/settings.ts";';
const { outputFiles } = await esbuild.build({ stdin: { contents: entry, resolveDir: join(import.meta.dirname, "..") }, bundle: true, format: "esm", write: false });
const file = join(await mkdtemp(join(tmpdir(), "store-")), "store.mjs");
await writeFile(file, outputFiles[0].contents);
const { TaskStore, Selection, fromPlain } = await import(pathToFileURL(file).href);

const used = () => {
  globalThis.gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
};
const before = used();
const store = new TaskStore("default:job/x");
const selection = new Selection([store], fromPlain({ since: "all" }).filter);
let text = 0;
const started = performance.now();
for (let at = 0; at < lines; at += 1000) {
  const m = Array.from({ length: 1000 }, (_, i) => `INFO step ${String(at + i).padStart(7, "0")} loss=0.123 lr=3.0e-4 grad_norm=0.91 mem=70 tokens/s=18204 padded to 90`);
  const event = JSON.parse(JSON.stringify({ task: "t", seq: at, sources: { 1: { pod: "p", container: "c" } }, t0: "1700000000000000000", dt: m.map((_, i) => (at + i) * 1e5), s: m.map(() => 1), m }));
  text += m.reduce((sum, one) => sum + one.length, 0);
  const rows = store.rows;
  store.addLog(event);
  selection.addRows(store, rows, store.rows);
}
const took = performance.now() - started;
used();
const held = used() - before;
process.stdout.write(`${JSON.stringify({ lines, text_mb: +(text / 1e6).toFixed(1), store_mb: +(held / 1e6).toFixed(1), ratio: +(held / text).toFixed(2), fill_ms_with_making: Math.round(took), kept: selection.all.length })}\n`);

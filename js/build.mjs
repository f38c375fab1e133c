// Bundles what hosts load as the widget (loader.js), and the viewer that it asks the kernel for (viewer.js, viewer.css,
// store.js, charts.js, panels.js), the viewer's own page (page.js, page.css) with the list of tasks (tasks.js, tasks.css), and JupyterLab's extension (labextension/). The store's
// code is started from a blob: URL as a worker, or imported from one into the page where workers are forbidden. In the same way the
// store imports charts.js when a view first shows a chart, and the page imports panels.js when it first shows a panel.
import { cp, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
export const outdir = resolve(here, "../cortex_jupyter/notebook/static");
const labextension = resolve(here, "../cortex_jupyter/labextension");
// The loader is copied into every model and into saved notebooks; the rest goes to each page once.
const LIMITS = { "loader.js": 4_000, "viewer.js": 136_000, "store.js": 139_500, "charts.js": 21_000, "panels.js": 60_000, "viewer.css": 30_000, "page.js": 136_000, "page.css": 4_000, "tasks.js": 30_000, "tasks.css": 8_000 };

const common = { bundle: true, format: "esm", target: "es2022", charset: "utf8", minify: true, legalComments: "none", logLevel: "warning" };

const options = {
  ...common,
  entryPoints: [
    { in: resolve(here, "src/hosts/loader.ts"), out: "loader" },
    { in: resolve(here, "src/hosts/notebook.ts"), out: "viewer" },
    { in: resolve(here, "src/store/worker.ts"), out: "store" },
    { in: resolve(here, "src/store/charts.ts"), out: "charts" },
    { in: resolve(here, "src/ui/panels.ts"), out: "panels" },
    { in: resolve(here, "src/ui/viewer.css"), out: "viewer" },
  ],
  outdir,
  absWorkingDir: here,
};

/** The scripts of the viewer's own page, which loads the store, charts.js and panels.js from the server, and of the list of tasks. */
const page = {
  ...options,
  format: "iife",
  entryPoints: [
    { in: resolve(here, "src/hosts/page.ts"), out: "page" },
    { in: resolve(here, "src/hosts/page.css"), out: "page" },
    { in: resolve(here, "src/hosts/tasks.ts"), out: "tasks" },
    { in: resolve(here, "src/hosts/tasks.css"), out: "tasks" },
  ],
};

/** JupyterLab's extension; named by what is in it, for browsers keep it. */
const lab = {
  ...options,
  format: "iife",
  entryPoints: [resolve(here, "src/hosts/lab.ts")],
  entryNames: "[name].[hash]",
  outdir: resolve(labextension, "static"),
  metafile: true,
};

/** Write what JupyterLab reads of it: the package, and the schema of its settings. */
async function describe({ metafile }) {
  const { name, version, description, license } = JSON.parse(await readFile(resolve(here, "package.json"), "utf8"));
  const load = `static/${Object.keys(metafile.outputs)[0].split("/").at(-1)}`;
  // JupyterLab's server looks for the settings of `NAME:plugin` in the file `schemas/NAME/plugin.json`.
  await cp(resolve(here, "schema"), resolve(labextension, "schemas", name), { recursive: true });
  await writeFile(resolve(labextension, "package.json"), `${JSON.stringify({ name, version, description, license, jupyterlab: { extension: true, _build: { load, extension: "./extension" } } }, null, 2)}\n`);
}

async function check() {
  let failed = false;
  for (const [name, limit] of Object.entries(LIMITS)) {
    const { size } = await stat(resolve(outdir, name));
    process.stdout.write(`${name} ${size} bytes (limit ${limit})\n`);
    failed ||= size > limit;
  }
  if (failed && process.argv.includes("--check")) {
    process.stderr.write("the bundle is too heavy: the loader is copied into each model and into saved notebooks, the viewer is sent to each page\n");
    process.exitCode = 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // What an older build left would be in the wheel.
  for (const folder of [outdir, labextension]) {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
  }
  if (process.argv.includes("--watch")) {
    await esbuild.build(lab).then(describe);
    for (const one of [options, page]) {
      const context = await esbuild.context({ ...one, logLevel: "info" });
      await context.watch();
    }
  } else {
    await Promise.all([...[options, page].map((one) => esbuild.build(one)), esbuild.build(lab).then(describe)]);
    await check();
  }
}

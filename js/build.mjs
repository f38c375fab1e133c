// Bundles the widget. The store's code becomes a string inside the viewer's: it is started from a blob: URL as a worker,
// or imported from one into the page where workers are forbidden, so it is in the bundle once. The whole is packed into
// a small loader (src/loader.ts says why).
import { mkdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
export const outdir = resolve(here, "../cortex_jupyter/notebook/static");
const LIMITS = { "widget.js": 45_000, "widget.css": 8_000 };

const common = { bundle: true, format: "esm", target: "es2022", minify: true, legalComments: "none", logLevel: "warning" };

async function bundled(entry) {
  const result = await esbuild.build({ ...common, entryPoints: [entry], write: false, metafile: true, absWorkingDir: here, plugins: [modules] });
  const watchFiles = Object.keys(result.metafile.inputs).map((file) => resolve(here, file.replace(/^\w+:/, "")));
  return { code: result.outputFiles[0].contents, watchFiles };
}

export const modules = {
  name: "modules-as-text",
  setup(build) {
    for (const [namespace, write] of [
      ["string", (code) => Buffer.from(code).toString("utf8")],
      ["packed", (code) => gzipSync(code, { level: 9 }).toString("base64")],
    ]) {
      build.onResolve({ filter: new RegExp(`^${namespace}:`) }, (args) => ({ path: resolve(args.resolveDir, args.path.slice(7)), namespace }));
      build.onLoad({ filter: /.*/, namespace }, async (args) => {
        const { code, watchFiles } = await bundled(args.path);
        return { contents: write(code), loader: "text", watchFiles };
      });
    }
  },
};

const options = {
  ...common,
  entryPoints: [{ in: resolve(here, "src/loader.ts"), out: "widget" }, { in: resolve(here, "src/widget.css"), out: "widget" }],
  outdir,
  plugins: [modules],
  absWorkingDir: here,
};

async function check() {
  let failed = false;
  for (const [name, limit] of Object.entries(LIMITS)) {
    const { size } = await stat(resolve(outdir, name));
    process.stdout.write(`${name} ${size} bytes (limit ${limit})\n`);
    failed ||= size > limit;
  }
  if (failed && process.argv.includes("--check")) {
    process.stderr.write("the bundle is too heavy: it is copied into each model and into saved notebooks\n");
    process.exitCode = 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await mkdir(outdir, { recursive: true });
  if (process.argv.includes("--watch")) {
    const context = await esbuild.context({ ...options, logLevel: "info" });
    await context.watch();
  } else {
    await esbuild.build(options);
    await check();
  }
}

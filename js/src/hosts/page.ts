/**
 * The viewer as a page of its own. The server writes the tasks into the page's configuration, in JupyterLab's format. The page's
 * address holds the settings and changes with them. The script is a classic one, not a module, because only classic scripts can
 * be loaded from a hub with a cookie alone.
 */

import { taskParts } from "../text/format.ts";
import { readPageConfig } from "../transport/http.ts";
import { h } from "../ui/dom.ts";
import type { Model } from "../client/session.ts";
import { formatAddress, parseAddress } from "../client/settings.ts";
import viewer from "./widget.ts";

interface PageData {
  cortexTasks: string[];
  /** The name of the tasks' cluster, on a server with several. */
  cortexCluster?: string;
  /** The window in the address, with words such as `yesterday` converted to times. */
  cortexWindow?: { since?: string; until?: string };
  /** Addresses of the worker's script and of the scripts that are loaded on demand. */
  cortexScripts: Record<"store" | "charts" | "panels", string>;
}

function followTheme(): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = (): void => void (document.body.dataset.jpThemeLight = String(!dark.matches));
  dark.addEventListener("change", show);
  show();
}

function setTitle(tasks: string[], status: { state?: string }, cluster?: string): void {
  const names = tasks.map((task) => taskParts(task).name).join(", ");
  document.title = [names, status.state, cluster].filter(Boolean).join(" · ");
}

/** Return an object with the part of a widget's model that the viewer uses. It saves the settings in the page's address. */
function pageModel({ cortexTasks: tasks, cortexWindow: window, cortexCluster }: PageData): Model {
  const plain = { ...parseAddress(new URLSearchParams(location.search)), ...window };
  const looks = { time: plain.time, wrap: plain.wrap, trim: plain.trim, columns: plain.columns, newest_first: plain.newest_first, font_size: plain.font_size };
  // If the address names no window, the viewer chooses one, depending on whether the task has ended.
  const shown = plain.since ? { view: plain } : { query: plain };
  const traits: Record<string, unknown> = { tasks, transport: "sse", follow: plain.at === undefined, ...looks, ...shown };
  return {
    get: (name) => traits[name],
    set(name, value) {
      traits[name] = value;
    },
    save_changes() {
      const { view = plain, status = {} } = traits;
      history.replaceState(null, "", `?${formatAddress(tasks, view as Record<string, unknown>)}`);
      setTitle(tasks, status as { state?: string }, cortexCluster);
    },
    send() {},
    on() {},
    off() {},
  };
}

async function fetchText(address: string): Promise<string> {
  const response = await fetch(address, { headers: readPageConfig().headers, credentials: "same-origin" });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.text();
}

async function start(): Promise<void> {
  followTheme();
  const page = JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}") as PageData;
  const { cortexTasks, cortexScripts, cortexCluster } = page;
  setTitle(cortexTasks, {}, cortexCluster);
  const widget = viewer("", await fetchText(cortexScripts.store), (name) => fetchText(cortexScripts[name]));
  const model = pageModel(page);
  widget.initialize({ model });
  const main = document.querySelector("main")!;
  widget.render({ model, el: main });
  main.prepend(h("h1", { class: "cl-title" }, "Task log"));
  // Nothing else on the page uses the keys.
  main.querySelector<HTMLElement>("[role=log]")?.focus({ preventScroll: true });
}

start().catch((reason: unknown) => {
  console.error("[cortex-jupyter]", reason);
  document.querySelector("main")!.textContent = `The log viewer could not start: ${String(reason)}`;
});

/** The header: the task and its phases, and actions for the whole log. */

import type { Transport } from "../protocol/messages.ts";
import type { ContainerSummary, Update } from "../protocol/update.ts";
import { errorMessage, taskParts } from "../text/format.ts";
import { filterTerms, pythonPattern } from "../text/query.ts";
import { sourceQuery } from "../text/sources.ts";
import { toIso } from "../text/time.ts";
import { readPageConfig, readProblem, RequestError, taskPath } from "../transport/http.ts";
import { formatAddress, type Settings, toPlain } from "../client/settings.ts";
import type { CommDownloads, DownloadedFile } from "../client/commdownload.ts";
import type { Action } from "./commands.ts";
import { button, h, setAttr, setClass, setHidden, setText } from "./dom.ts";
import { Menu, type MenuItem } from "./menu.ts";
import { isLocalFile, phasesOf, runningProblem, showPhases } from "./phases.ts";

const FORMATS: [string, string][] = [["txt", "Text"], ["ndjson", "NDJSON"], ["parquet", "Parquet"]];

export interface HeaderActions {
  /** The cluster and store that the tasks belong to; "" for the server's own. */
  origin: string;
  /** The transport that was chosen; `auto` for none. */
  transport(): Transport;
  /** Downloads through the kernel; undefined in a page of its own. */
  downloads: CommDownloads | undefined;
  showError(message: string): void;
  act(action: Action): void;
  /** Open the menu of the bell. */
  ring(): void;
  bookmarks(): MenuItem[];
  settings(): Settings;
  sources(): ContainerSummary[];
}

/** Return the filter as the server's parameters, for a task with these containers. */
function downloadQuery(settings: Settings, sources: ContainerSummary[]): URLSearchParams {
  const { since = "all", until = "", stream = "" } = toPlain(settings);
  const { include, exclude, where, level } = filterTerms(settings.filter);
  const all = { since, until, stream, level, ...sourceQuery(settings.filter, sources), grep: include.map(pythonPattern), exclude: exclude.map(pythonPattern), where };
  return new URLSearchParams(Object.entries(all).flatMap(([name, value]) => [value].flat().filter(Boolean).map((one): [string, string] => [name, one])));
}

export class Header {
  readonly element: HTMLElement;
  /** Time of the first start of a pod (ms); 0 if not known. */
  start = 0;
  #dot = h("span", { class: "cl-dot", "aria-hidden": "true" });
  #name = h("h2", { class: "cl-name" });
  #where = h("span", { class: "cl-dim cl-where" });
  #phases = h("span", { class: "cl-phases", role: "group", "aria-label": "Phases" });
  #download: Menu;
  #page = h("a", { class: "btn cl-wide", target: "_blank", rel: "noopener", title: "A page of its own, to be linked", "aria-label": "A page of its own", hidden: true, onpointerdown: () => this.#updateLink(), onfocus: () => this.#updateLink() }, "↗");
  #chart = button("Metrics", "Chart of the metrics (p)", () => this.#actions.act("chart"), { "data-icon": "∿", "aria-pressed": "false" });
  #patterns = button("Patterns", "Patterns and fields (P)", () => this.#actions.act("patterns"), { class: "btn cl-wide", "data-icon": "≡", "aria-pressed": "false" });
  #tasks: string[] = [];
  #transport: Update["transport"] = "sse";
  #hasPage = false;
  /** The place of the bell, whose code is loaded on demand. */
  readonly bell = h("span", { class: "cl-bell", hidden: true }, button("", "Notify me", () => this.#actions.ring(), { "aria-haspopup": "menu" }));
  /** Opens the list of keys. */
  readonly help = h("button", { class: "btn cl-wide", title: "Keys (?)", "aria-label": "Keys (?)" }, "?");

  readonly #actions: HeaderActions;

  constructor(actions: HeaderActions) {
    this.#actions = actions;
    this.#download = new Menu("Download", "Download the log", () => [
      "What is shown",
      ...FORMATS.map(([format, label]) => ({ label, act: () => void this.#save(format, (task) => downloadQuery(actions.settings(), actions.sources().filter((source) => source.task === task))) })),
      "The whole log",
      ...FORMATS.map(([format, label]) => ({ label: `${label}, all`, act: () => void this.#save(format, () => new URLSearchParams({ since: "all" })) })),
    ]);
    const go = new Menu("Go to", "Go to a place in the log", () => [
      ...([["A time… (:)", "goto"], ["Oldest line (g)", "oldest"], ["Newest line (G)", "newest"], ["Next error (e)", "nextError"], ["Previous error (E)", "previousError"], ["Before the task died (d)", "death"]] as const).map(([label, action]) => ({ label, act: () => actions.act(action) })),
      "Bookmarks",
      ...actions.bookmarks(),
      { label: "Bookmark this line… (m)", act: () => actions.act("mark") },
      ...this.#narrowItems(),
    ]);
    go.button.dataset.icon = "→";
    this.#download.button.dataset.icon = "↓";
    this.element = h(
      "div",
      { class: "cl-bar cl-head" },
      this.#dot,
      this.#name,
      h("span", { class: "cl-strip" }, this.#where, this.#phases),
      h("span", { class: "cl-grow" }),
      button("Sources", "Choose sources (s)", () => actions.act("sources"), { class: "btn cl-only-narrow", "data-icon": "☰" }),
      this.#chart,
      this.#patterns,
      go.element,
      this.#download.element,
      this.bell,
      this.#page,
      button("⤢", "Full screen (f)", () => actions.act("full"), { class: "btn cl-wide" }),
      this.help,
    );
  }

  /** Return menu entries for the buttons that are hidden in a narrow viewer. */
  #narrowItems(): (MenuItem | string)[] {
    if (this.element.closest(".cl-slim") === null) return [];
    const page = (): void => {
      this.#updateLink();
      this.#page.click();
    };
    return ["Viewer", { label: "Patterns and fields (P)", act: () => this.#actions.act("patterns") }, { label: "Full screen (f)", act: () => this.#actions.act("full") }, { label: "Keys (?)", act: () => this.#actions.act("help") }, ...(this.#page.hidden ? [] : [{ label: "A page of its own", act: page }])];
  }

  tasks(tasks: string[]): void {
    this.#tasks = tasks;
    const { chart, panel } = this.#actions.settings();
    setAttr(this.#chart, "aria-pressed", String(chart !== ""));
    setAttr(this.#patterns, "aria-pressed", String(chart === "" && panel !== ""));
    const parts = tasks.map(taskParts);
    setText(this.#name, parts.map(({ name }) => name).join(", ") || "no task");
    setText(this.#where, [...new Set(parts.map(({ kind, namespace }) => `${kind} · ${namespace}`))].join(", "));
  }

  update(update: Update): void {
    const { tasks, transport } = update;
    this.clock(update);
    const started = tasks.flatMap(({ pods }) => pods ?? []).flatMap(({ init, main }) => [init, main]).filter((time) => time > 0);
    this.start = started.length > 0 ? Math.min(...started) : 0;
    const failed = tasks.some(({ state }) => state === "failed" || state === "gone");
    setClass(this.#dot, "cl-bad", failed);
    setClass(this.#dot, "cl-troubled", !failed && tasks.some((task) => runningProblem(task) !== ""));
    setClass(this.#dot, "cl-idle", !failed && tasks.every(({ state }) => state !== "running"));
    setClass(this.#dot, "cl-good", !failed && tasks.every(({ state }) => state === "succeeded"));
    setHidden(this.#where, tasks.length > 0 && tasks.every(isLocalFile));
    this.#transport = transport;
    // Nothing more can happen.
    setHidden(this.bell, tasks.length > 0 && tasks.every(({ ended }) => ended));
    setHidden(this.#download.element, transport === "comm" && this.#actions.downloads === undefined);
    // Lines can come through the kernel although a server could show them.
    this.#hasPage = transport === "sse" || (this.#actions.transport() === "comm" && readPageConfig().base !== "");
    setHidden(this.#page, !this.#hasPage || document.querySelector("main.cl-page") !== null);
  }

  /** Write the current settings into the link to the viewer's own page. */
  #updateLink(): void {
    this.#page.href = this.#addressOf(this.#tasks, { ...toPlain(this.#actions.settings()) });
  }

  #addressOf(tasks: string[], settings: Record<string, unknown>): string {
    const address = formatAddress(tasks, settings);
    if (this.#actions.origin !== "") address.set("origin", this.#actions.origin);
    return `${readPageConfig().base}view?${address}`;
  }

  /** Return the address of a line in the viewer's own page, among all lines of its task; "" if there is no such page. */
  lineAddress(task: string, seq: number, time: number): string {
    return this.#hasPage ? this.#addressOf([task], { since: "all", at: toIso(time), line: seq }) : "";
  }

  /** Update the phases and the length of the current one. */
  clock({ tasks, now }: Update): void {
    // Of several tasks, show only the current phase of each.
    showPhases(this.#phases, tasks.length === 1 ? phasesOf(tasks[0], now) : [...new Set(tasks.map((task) => phasesOf(task, now).at(-1)?.name ?? ""))].map((name) => ({ name, length: null, now: true, title: "" })));
  }

  /** Let the browser download a file. It writes the file as it comes, so the page's memory does not grow with it. */
  async #save(format: string, query: (task: string) => URLSearchParams): Promise<void> {
    const { base, headers } = readPageConfig();
    for (const task of this.#tasks) {
      try {
        const parameters = query(task);
        if (this.#transport === "comm") {
          saveFile(await this.#actions.downloads!.start(task, format, parameters));
          continue;
        }
        if (this.#actions.origin !== "") parameters.set("origin", this.#actions.origin);
        await download(`${base}${taskPath(task)}/logs.${format}?${parameters}`, headers);
      } catch (reason) {
        this.#actions.showError(`Download failed: ${errorMessage(reason)}`);
      }
    }
  }
}

function saveFile({ name, blob }: DownloadedFile): void {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Follow a plain link to a download. A page cannot see why a link failed, so ask first. */
async function download(address: string, { Authorization: _token, ...headers }: Record<string, string>): Promise<void> {
  // A link sends cookies, and no token.
  const request: RequestInit = { headers, credentials: "same-origin" };
  let response = await fetch(address, { ...request, method: "HEAD" });
  // The answer to HEAD has no text, and a proxy may refuse HEAD alone.
  if (!response.ok && !response.redirected) response = await fetch(address, request);
  if (response.redirected) throw new Error("sign in again; another tab will do");
  if (!response.ok) throw new RequestError(await readProblem(response));
  await response.body?.cancel();
  h("a", { href: address, download: "" }).click();
}

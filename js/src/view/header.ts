/** What is it and how far: the task, its state, and what can be done with the whole. */

import { taskPath } from "../transport/page.ts";
import { pageConfig } from "../transport/config.ts";
import type { TaskSummary, Update } from "../types.ts";
import { button, h, say, setFlag } from "./dom.ts";
import { taskParts } from "./format.ts";

const FORMATS: [string, string][] = [["txt", "Text"], ["ndjson", "NDJSON"], ["parquet", "Parquet"]];

export function stateOf(task: TaskSummary): string {
  if (task.ended) return task.state === "succeeded" ? `Complete · exit ${task.exit ?? 0}` : task.exit === null ? "Failed" : `Failed · exit ${task.exit}`;
  return { pending: "Pending", running: "Running", succeeded: "Complete", failed: "Failed", gone: "Gone", "": "" }[task.state];
}

export class Header {
  readonly element: HTMLElement;
  #dot = h("span", { class: "cl-dot", "aria-hidden": "true" });
  #name = h("span", { class: "cl-name" });
  #where = h("span", { class: "cl-dim" });
  #state = h("span", { class: "cl-phase" });
  #menu = h("div", { class: "cl-menu", role: "menu", hidden: true });
  #download = button("Download", "Download the whole log", () => this.#toggle(), { "aria-haspopup": "menu", "aria-expanded": "false" });
  #tasks: string[] = [];

  constructor(fullScreen: () => void, help: () => void, private readonly complain: (message: string) => void) {
    for (const [format, label] of FORMATS) this.#menu.append(h("button", { type: "button", role: "menuitem", onclick: () => void this.#save(format) }, label));
    this.element = h(
      "div",
      { class: "cl-bar cl-head" },
      this.#dot,
      this.#name,
      this.#where,
      this.#state,
      h("span", { class: "cl-grow" }),
      h("span", { class: "cl-pop" }, this.#download, this.#menu),
      button("⤢", "Full screen (f)", fullScreen),
      button("?", "Keys (?)", help),
    );
  }

  tasks(tasks: string[]): void {
    this.#tasks = tasks;
    const parts = tasks.map(taskParts);
    say(this.#name, parts.map(({ name }) => name).join(", ") || "no task");
    say(this.#where, [...new Set(parts.map(({ kind, namespace }) => `${kind} · ${namespace}`))].join(", "));
  }

  update({ tasks, transport }: Update): void {
    say(this.#state, [...new Set(tasks.map(stateOf))].join(", "));
    const failed = tasks.some(({ state }) => state === "failed" || state === "gone");
    setFlag(this.#dot, "cl-bad", failed);
    setFlag(this.#dot, "cl-idle", !failed && tasks.every(({ state }) => state !== "running"));
    setFlag(this.#dot, "cl-good", !failed && tasks.every(({ state }) => state === "succeeded"));
    this.#download.hidden = transport !== "sse";
  }

  closeMenu(): boolean {
    const open = !this.#menu.hidden;
    this.#menu.hidden = true;
    this.#download.setAttribute("aria-expanded", "false");
    return open;
  }

  #toggle(): void {
    if (this.closeMenu()) return;
    this.#menu.hidden = false;
    this.#download.setAttribute("aria-expanded", "true");
    this.#menu.querySelector("button")?.focus();
  }

  async #save(format: string): Promise<void> {
    this.closeMenu();
    const { base, headers } = pageConfig();
    for (const task of this.#tasks) {
      try {
        const response = await fetch(`${base}${taskPath(task)}/logs.${format}?since=all`, { headers, credentials: "same-origin" });
        if (!response.ok) throw new Error(`the server answered ${response.status}`);
        const url = URL.createObjectURL(await response.blob());
        h("a", { href: url, download: `${taskParts(task).name}.${format}` }).click();
        setTimeout(() => URL.revokeObjectURL(url), 60_000);
      } catch (reason) {
        this.complain(`Download failed: ${reason instanceof Error ? reason.message : String(reason)}`);
      }
    }
  }
}

/** What is shown over empty rows, and the line that says what is wrong. */

import type { Filter } from "../types/asked.ts";
import type { Problem } from "../types/events.ts";
import type { Update } from "../types/update.ts";
import { button, h, hide, say } from "./dom.ts";
import { ago, counting } from "./format.ts";

/** Why no line is to be seen; empty when there is nothing to say. */
export function emptyWords(update: Update, { since, from }: Pick<Filter, "since" | "from">): string {
  if (update.shown > 0) return "";
  const stopped = update.tasks.find((task) => task.stopped && !task.ended)?.stopped;
  if (stopped && update.lines === 0) return stopped;
  const pending = update.tasks.find((task) => task.state === "pending" && !task.ended);
  if (pending && update.lines === 0) {
    const reason = pending.message || "Pending";
    return reason.startsWith("Log not available yet") ? reason : `Log not available yet: ${reason}`;
  }
  if (update.searching > 0) return "Searching…";
  if (update.link === "connecting" || update.link === "waiting") return update.link === "waiting" ? "Waiting for the kernel" : "Connecting…";
  if (update.filtered && update.lines > 0) return "No line matches the filter";
  if (update.lines > 0 && from !== null) return "No line in this range";
  if (update.lines > 0 && since !== null) return `No line in this window; the newest is ${ago(counting(Math.max(0, update.now - update.newest)))} old`;
  if (update.problem) return "";
  if (update.tasks.length > 0 && update.tasks.every((task) => task.ended)) return "The task wrote no lines";
  return update.link === "live" ? "No lines yet" : "";
}

export class EmptyPanel {
  #text = h("div", {});
  #older = button("Load older lines", "Load older lines", () => this.older(), { class: "btn cl-outline" });
  readonly element = h("div", { class: "cl-empty", hidden: true }, this.#text, this.#older);

  constructor(private readonly older: () => void) {}

  say(update: Update, filter: Filter): void {
    const words = emptyWords(update, filter);
    say(this.#text, words);
    hide(this.element, words === "");
  }

  update(update: Update, filter: Filter): void {
    this.say(update, filter);
    const edge = update.rows[0];
    hide(this.#older, edge?.text !== "Older lines" || update.filtered);
  }
}

export class ProblemBar {
  #text = h("span", {});
  #hint = h("span", { class: "cl-dim" });
  #retry = button("Try again", "Try again", () => this.retry(), { class: "btn cl-outline" });
  readonly element = h("div", { class: "cl-problem", role: "alert", hidden: true }, this.#text, this.#hint, h("span", { class: "cl-grow" }), this.#retry);
  #own = "";

  constructor(private readonly retry: () => void) {}

  show(problem: Problem | null, stopped: boolean): void {
    say(this.#text, problem?.message ?? this.#own);
    say(this.#hint, problem?.hint ?? "");
    hide(this.element, !problem && this.#own === "");
    hide(this.#retry, !stopped);
  }

  /** A fault of the page's own, not of the stream. */
  complain(message: string): void {
    console.error("[cortex-jupyter]", message);
    this.#own = message;
    this.show(null, false);
  }
}

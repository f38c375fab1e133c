/** What is shown over empty rows, and the line that says what is wrong. */

import type { Filter, Problem, Update } from "../types.ts";
import { button, h, say } from "./dom.ts";
import { ago } from "./format.ts";

/** Why no line is to be seen; empty when there is nothing to say. */
export function emptyWords(update: Update, { since, from }: Pick<Filter, "since" | "from">): string {
  if (update.shown > 0) return "";
  const pending = update.tasks.find((task) => task.state === "pending" && !task.ended);
  if (pending && update.lines === 0) {
    const reason = pending.message || "Pending";
    return reason.startsWith("Log not available yet") ? reason : `Log not available yet: ${reason}`;
  }
  if (update.searching > 0) return "Searching…";
  if (update.link === "connecting" || update.link === "waiting") return update.link === "waiting" ? "Waiting for the kernel" : "Connecting…";
  if (update.filtered && update.lines > 0) return "No line matches the filter";
  if (update.lines > 0 && from !== null) return "No line in this range";
  if (update.lines > 0 && since !== null) return `No line in this window; the newest is ${ago(Math.max(0, update.now - update.newest))} old`;
  if (update.problem) return "";
  if (update.tasks.length > 0 && update.tasks.every((task) => task.ended)) return "The task wrote no lines";
  return update.link === "live" ? "No lines yet" : "";
}

export class EmptyPanel {
  #text = h("div", {});
  #older = button("Load older lines", "Load older lines", () => this.older(), { class: "btn cl-outline" });
  readonly element = h("div", { class: "cl-empty", hidden: true }, this.#text, this.#older);

  constructor(private readonly older: () => void) {}

  update(update: Update, filter: Filter): void {
    const words = emptyWords(update, filter);
    say(this.#text, words);
    this.element.hidden = words === "";
    const edge = update.rows[0];
    this.#older.hidden = edge?.text !== "Older lines" || update.filtered;
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
    this.element.hidden = !problem && this.#own === "";
    this.#retry.hidden = !stopped;
  }

  /** A fault of the page's own, not of the stream. */
  complain(message: string): void {
    console.error("[cortex-jupyter]", message);
    this.#own = message;
    this.show(null, false);
  }
}

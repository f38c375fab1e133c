/** What is shown over empty rows, and the line that says what is wrong. */

import type { Filter } from "../types/asked.ts";
import type { Problem } from "../types/events.ts";
import type { Update } from "../types/update.ts";
import { button, h, setHidden, setText } from "./dom.ts";
import { formatAge, roundAge } from "./format.ts";

/** Why no line is to be seen; empty when there is nothing to say. */
export function describeEmpty(update: Update, { since, from }: Pick<Filter, "since" | "from">): string {
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
  if (update.lines > 0 && since !== null) return `No line in this window; the newest is ${formatAge(roundAge(Math.max(0, update.now - update.newest)))} old`;
  if (update.problem) return "";
  if (update.tasks.length > 0 && update.tasks.every((task) => task.ended)) return "The task wrote no lines";
  return update.link === "live" ? "No lines yet" : "";
}

export class EmptyPanel {
  #text = h("div", {});
  #older = button("Load older lines", "Load older lines", () => this.older(), { class: "btn cl-outline" });
  readonly element = h("div", { class: "cl-empty", hidden: true }, this.#text, this.#older);

  constructor(private readonly older: () => void) {}

  updateText(update: Update, filter: Filter): void {
    const words = describeEmpty(update, filter);
    setText(this.#text, words);
    setHidden(this.element, words === "");
  }

  update(update: Update, filter: Filter): void {
    this.updateText(update, filter);
    const edge = update.rows[0];
    setHidden(this.#older, edge?.text !== "Older lines" || update.filtered);
  }
}

export class ProblemBar {
  #text = h("span", {});
  #hint = h("span", { class: "cl-dim" });
  #retry = button("Try again", "Try again", () => this.retry(), { class: "btn cl-outline" });
  readonly element = h("div", { class: "cl-problem", role: "alert", hidden: true }, this.#text, this.#hint, h("span", { class: "cl-grow" }), this.#retry);
  #error = "";

  constructor(private readonly retry: () => void) {}

  show(problem: Problem | null, stopped: boolean): void {
    setText(this.#text, problem?.message ?? this.#error);
    setText(this.#hint, problem?.hint ?? "");
    setHidden(this.element, !problem && this.#error === "");
    setHidden(this.#retry, !stopped);
  }

  /** A fault of the page's own, not of the stream. */
  showError(message: string): void {
    console.error("[cortex-jupyter]", message);
    this.#error = message;
    this.show(null, false);
  }
}

/** Is it whole and live: state in words, counts, gaps, the zone of the times, the place as code, and the way to the newest line. */

import type { TaskSummary, Update } from "../types.ts";
import { button, h, say, setFlag } from "./dom.ts";
import { ago, grouped, zone } from "./format.ts";

type Tone = "good" | "warn" | "bad" | "idle";

/** What the viewer is doing, in words; colour only repeats it. */
export function stateWords(update: Update, follow: boolean): [string, Tone] {
  const { link, problem, tasks, newest, now } = update;
  const ended = tasks.filter((task) => task.ended);
  if (tasks.length > 0 && ended.length === tasks.length) {
    const failed = ended.some((task) => task.state !== "succeeded");
    return [[...new Set(ended.map(({ message }) => message))].join(" · "), failed ? "bad" : "good"];
  }
  if (link === "stopped" || problem?.task) return [`Stopped: ${problem?.message ?? ""}`, "bad"];
  if (link === "reconnecting") return [`Reconnecting…${newest > 0 ? ` last line ${ago(Math.max(0, now - newest))} ago` : ""}`, "warn"];
  if (link === "waiting") return ["Waiting for the kernel", "idle"];
  if (link === "connecting") return ["Connecting…", "idle"];
  const pending = tasks.find((task) => task.state === "pending");
  if (pending) return [pending.message || "Pending", "idle"];
  return follow ? ["Live", "good"] : ["Paused, new lines wait below", "idle"];
}

function gapWords(tasks: TaskSummary[]): string {
  const gaps = tasks.reduce((sum, task) => sum + task.gaps, 0);
  const lines = tasks.reduce((sum, task) => sum + task.gapLines, 0);
  if (gaps === 0) return "";
  return `${gaps} gap${gaps === 1 ? "" : "s"}${lines > 0 ? `, ${grouped(lines)} lines` : ""}`;
}

export class StatusBar {
  readonly element: HTMLElement;
  #state = h("span", { class: "cl-state" });
  #counts = h("span", { "aria-live": "off" });
  #gaps = h("span", { class: "cl-gaps" });
  #place = h("button", { type: "button", class: "cl-code", title: "Copy the lines in sight as code" });
  #pill = button("↓ newest", "Go to the newest line and follow (End)", () => this.newest(), { class: "cl-pill" });

  constructor(private readonly newest: () => void) {
    this.#place.addEventListener("click", () => void navigator.clipboard?.writeText(this.#place.textContent ?? ""));
    const zoneText = h("span", { class: "cl-faint", title: "Times are shown in this zone" }, zone());
    this.element = h("div", { class: "cl-status", role: "status" }, this.#state, this.#counts, this.#gaps, h("span", { class: "cl-grow" }), zoneText, this.#place, this.#pill);
  }

  update(update: Update, follow: boolean): void {
    const [words, tone] = stateWords(update, follow);
    say(this.#state, `● ${words}`);
    this.#state.dataset.tone = tone;
    const { lines, shown, filtered, rate } = update;
    const rates = rate >= 1 ? ` · ${grouped(rate)}/s` : rate > 0 ? ` · ${rate.toFixed(1)}/s` : "";
    say(this.#counts, `${filtered ? `${grouped(shown)} of ` : ""}${grouped(lines)} line${lines === 1 ? "" : "s"}${rates}`);
    say(this.#gaps, gapWords(update.tasks));
    this.follow(follow);
  }

  follow(follow: boolean): void {
    setFlag(this.#pill, "cl-on", follow);
    this.#pill.setAttribute("aria-pressed", String(follow));
  }

  place(first: number | null, last: number | null): void {
    say(this.#place, first === null || last === null ? "" : `log[${first}:${last + 1}]`);
  }
}

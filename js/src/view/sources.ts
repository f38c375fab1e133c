/** The side list: who writes. A click shows only that one, its switch takes it in or out. */

import type { SourceSummary } from "../types.ts";
import { button, h, say, setFlag } from "./dom.ts";
import { ago, brief, grouped } from "./format.ts";
import { type Entry, entries } from "./names.ts";

interface Made {
  element: HTMLElement;
  toggle: HTMLButtonElement;
  only: HTMLButtonElement;
  count: HTMLElement;
  restarts: HTMLElement;
}

/** How a source stands, in words. */
export function standing({ ended, exit, waiting }: Entry): string {
  if (waiting) return "waiting";
  if (!ended) return "running";
  return exit === null ? "ended" : exit === 0 ? "done" : `failed, exit ${exit}`;
}

export class Sources {
  readonly element = h("div", { class: "cl-side", role: "group", "aria-label": "Sources" });
  #head = h("h4", {});
  #others = button("", "Show or hide init containers and sidecars", () => this.#toggleOthers(), { class: "btn cl-others" });
  #made = new Map<string, Made>();
  #shape = "";
  #entries: Entry[] = [];
  #keys: string[] = [];

  constructor(private readonly choose: (off: string[]) => void) {}

  update(sources: SourceSummary[], now: number): void {
    this.#entries = entries(sources);
    this.#keys = sources.map(({ key }) => key);
    const shape = this.#entries.map(({ name, group }) => `${group} ${name}`).join("|");
    if (shape !== this.#shape) this.#build();
    this.#shape = shape;
    const on = this.#entries.filter((entry) => entry.on).length;
    say(this.#head, `${on} of ${this.#entries.length} source${this.#entries.length === 1 ? "" : "s"}`);
    for (const entry of this.#entries) this.#show(entry, now);
    const others = this.#entries.filter(({ group }) => group !== "");
    this.#others.hidden = others.length === 0;
    say(this.#others, others.some((entry) => entry.on) ? "Hide init and sidecars" : "Show init and sidecars");
  }

  get count(): number {
    return this.#entries.length;
  }

  #build(): void {
    const focused = document.activeElement?.closest<HTMLElement>(".cl-src")?.dataset.key;
    this.#made.clear();
    this.element.replaceChildren(this.#head);
    let group = "";
    for (const entry of this.#entries) {
      if (entry.group !== group) this.element.append(h("h4", {}, (group = entry.group)));
      const id = entry.keys[0];
      const count = h("small", {});
      const restarts = h("span", { class: "cl-le" });
      const label = `${entry.name} ${entry.full}`;
      const toggle = h("button", { type: "button", role: "switch", class: "cl-swb", "aria-label": label, onclick: () => this.#toggle(id) }, h("span", { class: `cl-sw ${entry.group ? "cl-many" : ""}` }), h("span", { class: "cl-hid" }, label));
      const only = h("button", { type: "button", class: "cl-only", onclick: () => this.#only(id) }, h("span", { class: "cl-sn" }, entry.name, " ", restarts), count);
      const element = h("div", { class: "cl-src", style: `--h:${entry.hue}`, "data-key": id }, toggle, only);
      this.#made.set(id, { element, toggle, only, count, restarts });
      this.element.append(element);
    }
    this.element.append(this.#others);
    if (focused) this.#made.get(focused)?.only.focus();
  }

  #show(entry: Entry, now: number): void {
    const made = this.#made.get(entry.keys[0]);
    if (made === undefined) return;
    const { element, toggle, only, count, restarts } = made;
    if (toggle.getAttribute("aria-checked") !== String(entry.on)) toggle.setAttribute("aria-checked", String(entry.on));
    setFlag(element, "cl-off", !entry.on);
    const bad = entry.ended && (entry.exit ?? 0) !== 0;
    say(count, entry.waiting ? "waiting" : bad ? `exit ${entry.exit}` : `${entry.ended && entry.exit === 0 ? "✓ " : ""}${brief(entry.lines)}`);
    setFlag(count, "cl-le", bad);
    say(restarts, entry.restarts > 0 ? `↻${entry.restarts}` : "");
    const nodes = [...new Set(entry.nodes)].filter(Boolean);
    const words = [
      entry.full,
      standing(entry),
      `${grouped(entry.lines)} lines${entry.last > 0 ? `, the last ${ago(Math.max(0, now - entry.last))} ago` : ""}`,
      entry.restarts > 0 ? `restarted ${entry.restarts} ${entry.restarts === 1 ? "time" : "times"}; the lines of all runs are here` : "",
      nodes.length > 0 ? `on ${nodes.join(", ")}` : "",
      entry.on ? "Click: only this one" : "Click: only this one; its lines are hidden now",
    ].filter(Boolean);
    only.title = words.join("\n");
    const said = `${entry.name}, ${standing(entry)}, ${grouped(entry.lines)} lines: show only this one`;
    if (only.getAttribute("aria-label") !== said) only.setAttribute("aria-label", said);
    toggle.title = entry.on ? `Hide ${entry.name}` : `Show ${entry.name}`;
  }

  #off(): Set<string> {
    return new Set(this.#entries.filter((entry) => !entry.on).flatMap((entry) => entry.keys));
  }

  #set(entriesToSet: Entry[], on: boolean): void {
    const off = this.#off();
    for (const { keys } of entriesToSet) for (const key of keys) if (on) off.delete(key);
      else off.add(key);
    this.choose([...off]);
  }

  #toggle(id: string): void {
    const entry = this.#entries.find(({ keys }) => keys[0] === id);
    if (entry) this.#set([entry], !entry.on);
  }

  #toggleOthers(): void {
    const others = this.#entries.filter(({ group }) => group !== "");
    this.#set(others, !others.some((entry) => entry.on));
  }

  /** Only this one; all again when it was the only one. */
  #only(id: string): void {
    const entry = this.#entries.find(({ keys }) => keys[0] === id);
    if (!entry) return;
    const others = this.#keys.filter((key) => !entry.keys.includes(key));
    const alone = entry.on && others.length > 0 && others.every((key) => this.#off().has(key));
    this.choose(alone ? [] : others);
  }
}

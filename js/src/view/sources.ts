/** The side list: who writes. Each source is a switch; a double click leaves it alone. */

import type { SourceSummary } from "../types.ts";
import { h, say, setFlag } from "./dom.ts";
import { brief, grouped } from "./format.ts";
import { type Entry, entries } from "./names.ts";

interface Made {
  element: HTMLButtonElement;
  count: HTMLElement;
  restarts: HTMLElement;
}

export class Sources {
  readonly element = h("div", { class: "cl-side", role: "group", "aria-label": "Sources" });
  #made = new Map<string, Made>();
  #shape = "";
  #entries: Entry[] = [];
  #keys: string[] = [];

  constructor(private readonly choose: (off: string[]) => void) {}

  update(sources: SourceSummary[]): void {
    this.#entries = entries(sources);
    this.#keys = sources.map(({ key }) => key);
    const shape = this.#entries.map(({ name, group }) => `${group} ${name}`).join("|");
    if (shape !== this.#shape) this.#build();
    this.#shape = shape;
    const on = this.#entries.filter((entry) => entry.on).length;
    const head = this.element.querySelector("h4");
    if (head) say(head as HTMLElement, `${on} of ${this.#entries.length} source${this.#entries.length === 1 ? "" : "s"}`);
    for (const entry of this.#entries) this.#show(entry);
  }

  get count(): number {
    return this.#entries.length;
  }

  #build(): void {
    this.#made.clear();
    this.element.replaceChildren(h("h4", {}));
    let group = "";
    for (const entry of this.#entries) {
      if (entry.group !== group) this.element.append(h("h4", {}, (group = entry.group)));
      const count = h("small", {});
      const restarts = h("span", { class: "cl-le" });
      const element = h(
        "button",
        { type: "button", role: "switch", class: "cl-src", style: `--h:${entry.hue}`, title: entry.full, "aria-label": `${entry.name} ${entry.full}` },
        h("span", { class: `cl-sw ${entry.group ? "cl-many" : ""}` }),
        h("span", { class: "cl-sn" }, entry.name, " ", restarts, h("span", { class: "cl-hid" }, ` ${entry.full}`)),
        count,
      );
      const id = entry.keys[0];
      element.addEventListener("click", () => this.#toggle(id));
      element.addEventListener("dblclick", () => this.#only(id));
      this.#made.set(id, { element, count, restarts });
      this.element.append(element);
    }
  }

  #show(entry: Entry): void {
    const made = this.#made.get(entry.keys[0]);
    if (made === undefined) return;
    const { element, count, restarts } = made;
    if (element.getAttribute("aria-checked") !== String(entry.on)) element.setAttribute("aria-checked", String(entry.on));
    setFlag(element, "cl-off", !entry.on);
    const exit = entry.ended && entry.exit !== null ? (entry.exit === 0 ? "✓ " : `exit ${entry.exit} `) : "";
    say(count, entry.waiting ? "waiting" : `${exit}${brief(entry.lines)}`);
    setFlag(count, "cl-le", entry.ended && (entry.exit ?? 0) !== 0);
    count.title = `${grouped(entry.lines)} lines`;
    say(restarts, entry.restarts > 0 ? `↻${entry.restarts}` : "");
    restarts.title = entry.restarts > 0 ? `restarted ${entry.restarts} times` : "";
  }

  #off(): Set<string> {
    return new Set(this.#entries.filter((entry) => !entry.on).flatMap((entry) => entry.keys));
  }

  #toggle(id: string): void {
    const entry = this.#entries.find(({ keys }) => keys[0] === id);
    if (!entry) return;
    const off = this.#off();
    for (const key of entry.keys) if (entry.on) off.add(key);
      else off.delete(key);
    this.choose([...off]);
  }

  /** Only this one; all again when it was the only one. */
  #only(id: string): void {
    const entry = this.#entries.find(({ keys }) => keys[0] === id);
    if (!entry) return;
    const others = this.#keys.filter((key) => !entry.keys.includes(key));
    const alone = others.every((key) => this.#off().has(key));
    this.choose(alone ? [] : others);
  }
}

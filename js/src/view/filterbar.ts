/** What of it: text or regex, level, what is left out as chips, how many match; and how lines are shown. */

import type { Update } from "../types.ts";
import { splitExcludes } from "../store/filter.ts";
import { button, h, say, setFlag } from "./dom.ts";
import { grouped } from "./format.ts";
import type { Settings } from "./settings.ts";

const LEVELS: [string, string][] = [["", "all levels"], ["debug", "level ≥ debug"], ["info", "level ≥ info"], ["warning", "level ≥ warning"], ["error", "level ≥ error"]];

function toggle(label: string, title: string, act: () => void): HTMLButtonElement {
  return button(label, title, act, { "aria-pressed": "false", class: "" });
}

function chip(text: string, remove: () => void): HTMLElement {
  return h("span", { class: "cl-chip" }, text, button("×", `Remove: ${text}`, remove, { class: "cl-x" }));
}

export type Change = (change: Partial<Settings["filter"]> & { time?: boolean; wrap?: boolean }) => void;

export class FilterBar {
  readonly input = h("input", { type: "search", class: "cl-input", placeholder: "Filter: text, /regex/ or -word", "aria-label": "Filter lines", spellcheck: "false", autocomplete: "off" });
  readonly sources = button("Sources", "Choose sources", () => this.onSources(), { class: "btn cl-only-narrow" });
  readonly element: HTMLElement;
  onSources: () => void = () => {};
  #regex = button(".*", "Regular expression", () => this.change({ regex: !this.#settings?.filter.regex }), { class: "btn cl-tog" });
  #level = h("select", { class: "cl-chip", "aria-label": "Least level" }, ...LEVELS.map(([value, text]) => h("option", { value }, text)));
  #chips = h("span", { class: "cl-chips" });
  #count = h("span", { class: "cl-dim cl-count", "aria-live": "off" });
  #error = h("span", { class: "cl-le cl-count", role: "alert" });
  #toggles: Record<"time" | "wrap" | "pretty", HTMLButtonElement>;
  #settings: Settings | undefined;
  #chipsOf = "";

  constructor(private readonly change: Change) {
    this.#toggles = {
      time: toggle("Time", "Time of each line (t)", () => change({ time: !this.#settings?.time })),
      wrap: toggle("Wrap", "Wrap long lines (w)", () => change({ wrap: !this.#settings?.wrap })),
      pretty: toggle("JSON", "JSON lines with the message first (j)", () => change({ pretty: !this.#settings?.filter.pretty })),
    };
    this.input.addEventListener("input", () => change({ grep: this.input.value }));
    this.input.addEventListener("keydown", (event) => event.key === "Enter" && this.#commit());
    this.#level.addEventListener("change", () => change({ level: this.#level.value }));
    this.element = h(
      "div",
      { class: "cl-bar cl-filter" },
      h("span", { class: "cl-faint", "aria-hidden": "true" }, "⌕"),
      this.#level,
      this.#chips,
      this.input,
      this.#regex,
      this.#error,
      this.#count,
      this.sources,
      h("span", { class: "cl-seg", role: "group", "aria-label": "Columns" }, ...Object.values(this.#toggles)),
    );
  }

  /** Enter turns `-word` into a chip. */
  #commit(): void {
    const { filter } = this.#settings ?? {};
    if (!filter || filter.regex || this.input.value.startsWith("/")) return;
    const { grep, exclude } = splitExcludes(this.input.value);
    if (exclude.length > 0) this.change({ grep, exclude: [...new Set([...filter.exclude, ...exclude])] });
  }

  show(settings: Settings): void {
    this.#settings = settings;
    const { filter } = settings;
    if (this.input.value !== filter.grep) this.input.value = filter.grep;
    this.#level.value = LEVELS.some(([value]) => value === filter.level) ? filter.level : "";
    setFlag(this.#level, "cl-on", filter.level !== "");
    this.#regex.setAttribute("aria-pressed", String(filter.regex));
    for (const [name, on] of [["time", settings.time], ["wrap", settings.wrap], ["pretty", filter.pretty]] as const) this.#toggles[name].setAttribute("aria-pressed", String(on));
    const chips = JSON.stringify([filter.exclude, filter.pod, filter.container, filter.stream]);
    if (chips === this.#chipsOf) return;
    this.#chipsOf = chips;
    this.#chips.replaceChildren(
      ...filter.exclude.map((word) => chip(`not “${word}”`, () => this.change({ exclude: filter.exclude.filter((other) => other !== word) }))),
      ...(["pod", "container", "stream"] as const).filter((name) => filter[name]).map((name) => chip(`${name} ${filter[name]}`, () => this.change({ [name]: "" }))),
    );
  }

  update({ filterError, filtered, shown, lines, searching }: Update): void {
    say(this.#error, filterError);
    setFlag(this.input, "cl-bad", filterError !== "");
    this.input.setAttribute("aria-invalid", String(filterError !== ""));
    say(this.#count, !filtered ? "" : searching > 0 ? `${grouped(shown)} so far…` : `${grouped(shown)} of ${grouped(lines)}`);
  }
}

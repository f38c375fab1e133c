/** The display menu: times, wrapping, JSON, columns, order and font size. */

import { type Change, type Column, COLUMNS, FONT_SIZES, type Settings, type TimeDisplay, TIME_DISPLAYS } from "../client/settings.ts";
import { visibleText } from "../text/ansi.ts";
import { button, h } from "./dom.ts";
import { Menu, type MenuItem } from "./menu.ts";
import type { SavedFilters } from "./savedfilters.ts";

const TIME_WORDS: Record<TimeDisplay, string> = { local: "Local time", utc: "UTC", start: "Since the start", delta: "Since the line before", off: "No times" };
const COLUMN_WORDS: Record<Column, string> = { pod: "Pod", container: "Container", level: "Level" };

/** One step of the viewer's height (px). */
const STEP_PX = 40;

export const EQUAL_LINES = [["", "One by one"], ["exact", "Folded"], ["masked", "Folded, ignoring numbers"]] as const;

const SPLITS = [["", "Lines"], ["level", "By level"], ["pod", "By pod"]] as const;

export class DisplayMenu {
  readonly element: HTMLElement;
  #time: Menu;
  #wrap = button("Wrap", "Wrap long lines (w)", () => this.#change({ wrap: !this.#settings().wrap }), { class: "" });
  #json = button("JSON", "JSON lines with the message first (j)", () => this.#change({ pretty: !this.#settings().filter.pretty }), { class: "" });

  readonly #settings: () => Settings;
  readonly #change: (change: Change) => void;
  readonly #resize: (by: number, ofSources?: boolean) => void;
  readonly #saved: SavedFilters;
  readonly #openSaved: () => void;

  constructor(
    settings: () => Settings,
    change: (change: Change) => void,
    resize: (by: number, ofSources?: boolean) => void,
    saved: SavedFilters,
    /** Open the dialog of the saved filters. */
    openSaved: () => void,
  ) {
    this.#saved = saved;
    this.#openSaved = openSaved;
    this.#settings = settings;
    this.#change = change;
    this.#resize = resize;
    this.#time = new Menu("Time", "Time of each line (t)", () => this.#times(), "");
    const more = new Menu("⋯", "Columns, order and size", () => this.#more(), "");
    this.element = h("span", { class: "cl-seg cl-display", role: "group", "aria-label": "Display" }, this.#time.element, this.#wrap, this.#json, more.element);
  }

  #times(): MenuItem[] {
    return TIME_DISPLAYS.map((one) => ({ label: TIME_WORDS[one], checked: this.#settings().time === one, act: () => this.#change({ time: one }) }));
  }

  #savedFilters(): (MenuItem | string)[] {
    const saved = this.#saved.read();
    if (saved.length === 0 && this.#saved.present === null) return [];
    return [
      "Saved filters",
      ...saved.map((one) => ({ label: visibleText(one.name), checked: this.#saved.isPresent(one), act: () => this.#saved.apply(one) })),
      { label: saved.length === 0 ? "Save the filter…" : "Save or delete…", act: this.#openSaved },
    ];
  }

  #more(): (MenuItem | string)[] {
    const { columns, newestFirst, fontSize, filter } = this.#settings();
    const toggled = (column: Column): Column[] => COLUMNS.filter((one) => columns.includes(one) !== (one === column));
    // The buttons are hidden in a narrow viewer, so the menu has their entries.
    const folded: (MenuItem | string)[] = this.element.closest(".cl-slim") === null ? [] : [
      { label: "Wrap (w)", checked: this.#settings().wrap, staysOpen: true, act: () => this.#change({ wrap: !this.#settings().wrap }) },
      { label: "JSON, message first (j)", checked: filter.pretty, staysOpen: true, act: () => this.#change({ pretty: !this.#settings().filter.pretty }) },
      "Times (t)",
      ...this.#times(),
    ];
    return [
      ...folded,
      ...this.#savedFilters(),
      "Columns",
      ...COLUMNS.map((one) => ({ label: COLUMN_WORDS[one], checked: columns.includes(one), staysOpen: true, act: () => this.#change({ columns: toggled(one) }) })),
      ...[["Wider", 2], ["Narrower", -2]].map(([label, by]) => ({ label: `${label} sources`, staysOpen: true, act: () => this.#resize(Number(by), true) })),
      { label: "Hide times and levels in the text (h)", checked: this.#settings().trim, staysOpen: true, act: () => this.#change({ trim: !this.#settings().trim }) },
      "Order (r)",
      { label: "Newest first", checked: newestFirst, staysOpen: true, act: () => this.#change({ newestFirst: !newestFirst }) },
      "Equal lines (u)",
      ...EQUAL_LINES.map(([equalLines, label]) => ({ label, checked: filter.equalLines === equalLines, act: () => this.#change({ equalLines }) })),
      "Bars of the time axis",
      ...SPLITS.map(([split, label]) => ({ label, checked: filter.split === split, act: () => this.#change({ split }) })),
      "Stream",
      ...["", "stdout", "stderr"].map((stream) => ({ label: stream || "Both", checked: filter.stream === stream, act: () => this.#change({ stream }) })),
      `Text, ${fontSize} px`,
      { label: "Larger (+)", staysOpen: true, act: () => this.#change({ fontSize: Math.min(FONT_SIZES.most, this.#settings().fontSize + 1) }) },
      { label: "Smaller (−)", staysOpen: true, act: () => this.#change({ fontSize: Math.max(FONT_SIZES.least, this.#settings().fontSize - 1) }) },
      // A viewer on a page of its own is as high as the window.
      ...(document.querySelector("main.cl-page") ? [] : ["Height", { label: "Higher", staysOpen: true, act: () => this.#resize(STEP_PX) }, { label: "Lower", staysOpen: true, act: () => this.#resize(-STEP_PX) }]),
    ];
  }

  show(): void {
    const { time, wrap, filter } = this.#settings();
    for (const [one, on] of [[this.#time.button, time !== "off"], [this.#wrap, wrap], [this.#json, filter.pretty]] as const) one.setAttribute("aria-pressed", String(on));
  }
}

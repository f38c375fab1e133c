/** The filter bar: the box for a filter or a text to find, the chips, the minimum level, and the number of matches. */

import type { Filter } from "../protocol/requests.ts";
import type { RemoteSearchState, Update } from "../protocol/update.ts";
import { parseConditions, quoteValue } from "../text/conditions.ts";
import { formatRange, formatShortClock, groupDigits } from "../text/format.ts";
import { levelMask, writeLevels } from "../text/level.ts";
import { anyOf, describeTerm, filterTerms, isPlainText, isRegex, joinedTerm, makeTerm, parseTerms, patternText, termRegex, textsOf } from "../text/query.ts";
import { sourceChoice } from "../text/sources.ts";
import type { Change, Settings } from "../client/settings.ts";
import { button, focusOn, h, listen, setAttr, setClass, setHidden, setText } from "./dom.ts";
import { describeCondition } from "./filterhints.ts";
import { Menu, type MenuItem } from "./menu.ts";

/** The choices of the level menu, and the levels that each stands for. */
const LEVEL_CHOICES = Object.entries({ debug: "trace,debug", info: "=info", warning: "=warning", error: "error" }).map(([name, levels]): [name: string, mask: number] => [name, levelMask(levels)]);
const AROUND = [0, 1, 3, 10];
const FILTER = 'Filter: text, /regex/, !not, loss<0.1';
const FIND = "Find: text or /regex/";

export interface FilterActions {
  change(change: Change): void;
  /** Find a text: mark its matches and show all lines. "" ends it. */
  find(term: string): void;
  /** Continue or stop the search in lines that are not loaded. */
  search(go: boolean): void;
  step(by: 1 | -1): void;
  /** Move the focus back to the lines. */
  focusLines(): void;
}

export function describeLevels(levels: string): string {
  if (levels === "") return "all levels";
  if (!/[=,]/.test(levels)) return `level ≥ ${levels}`;
  const mask = levelMask(levels);
  return LEVEL_CHOICES.filter(([, bits]) => (mask & bits) > 0).map(([name]) => name).join(", ");
}

/** Describe how far the lines that are not loaded have been searched. */
function describeRemoteSearch(remote: RemoteSearchState | undefined): string {
  if (!remote || remote.state === "done") return "";
  if (remote.state === "failed") return ", the rest could not be searched";
  return remote.to === Infinity ? ", searching…" : `, searched back to ${formatShortClock(remote.to, true)}`;
}

export class FilterBar {
  readonly #input = h("input", { type: "search", class: "cl-input", placeholder: FILTER, "aria-label": "Filter lines", dir: "auto", spellcheck: "false", autocomplete: "off" });
  readonly element: HTMLElement;
  finding = false;
  /** The texts whose matches are marked, in lower case. */
  texts: string[] = [];
  #mode: HTMLButtonElement[];
  #regex = button(".*", "Regular expression", () => this.#toggle("regex"), { class: "btn cl-tog", "aria-pressed": "false" });
  #case = button("Aa", "Match case", () => this.#toggle("matchCase"), { class: "btn cl-tog", "aria-pressed": "false" });
  #level = new Menu("all levels", "all levels: choose levels", () => this.#levelItems(), "cl-chip cl-dim");
  #around = h("select", { class: "cl-chip", "aria-label": "Lines around each match", hidden: true });
  #chips = h("span", { class: "cl-chips" });
  #count = h("span", { class: "cl-dim cl-count", "aria-live": "off" });
  #steps = h("span", { class: "cl-steps", hidden: true }, button("↑", "Previous match (N)", () => this.#actions.step(-1)), button("↓", "Next match (n)", () => this.#actions.step(1)));
  #remote = h("button", { class: "cl-more", hidden: true, onclick: () => this.#actions.search(this.#update?.remote?.state !== "running") });
  #error = h("span", { class: "cl-le cl-count", role: "alert" });
  #settings: Settings | undefined;
  #isComposing = false;
  /** Index of the earlier filter that is in the box; -1 for none. */
  #recalled = -1;
  /** The text that was in the box before. */
  #draft = "";
  #chipsOf = "";
  #sought = "";
  #soughtTerm = "";
  #findOptions: Record<"regex" | "matchCase", boolean> = { regex: false, matchCase: false };

  readonly #actions: FilterActions;

  constructor(actions: FilterActions, display: HTMLElement) {
    this.#actions = actions;
    // An input method reports the text that it composes too, which is not what the user looks for.
    listen(this.#input, "input", (event) => (event as InputEvent).isComposing || this.#typed());
    listen(this.#input, "compositionstart", () => (this.#isComposing = true));
    listen(this.#input, "compositionend", () => {
      this.#isComposing = false;
      this.#typed();
    });
    listen(this.#input, "keydown", (event) => this.#key(event));
    listen(this.#around, "change", () => actions.change({ around: Number(this.#around.value) }));
    this.#mode = [button("Filter", "Filter: show only what matches (/)", () => this.toFilter(), { class: "" }), button("Find", "Find without filtering (Ctrl+F)", () => this.toFind(), { class: "" })];
    this.element = h(
      "div",
      { class: "cl-bar cl-filter" },
      h("span", { class: "cl-seg", role: "group", "aria-label": "What the box does" }, ...this.#mode),
      this.#level.element,
      this.#chips,
      h("span", { class: "cl-box" }, this.#input, this.#case, this.#regex),
      this.#error,
      this.#around,
      h("span", { class: "cl-found" }, this.#count, this.#remote, this.#steps),
      display,
    );
    this.#showMode();
  }

  /** Use the box for the filter, no longer for find. */
  toFilter(): void {
    this.#setFinding(false);
  }

  toFind(): void {
    this.#setFinding(true);
  }

  #setFinding(finding: boolean): void {
    if (this.finding !== finding) {
      this.finding = finding;
      if (!finding) this.#setSought("");
      this.#showMode();
    }
    focusOn(this.#input);
    this.#input.select();
  }

  #showMode(): void {
    for (const [i, one] of this.#mode.entries()) one.setAttribute("aria-pressed", String(this.finding === (i === 1)));
    this.#input.placeholder = this.finding ? FIND : FILTER;
    this.#input.setAttribute("aria-label", this.finding ? "Find in the lines" : "Filter lines");
    this.#input.value = this.finding ? this.#sought : (this.#settings?.filter.grep ?? "");
    this.#showSwitches();
    this.#showCount();
  }

  #showSwitches(): void {
    const of = this.finding ? this.#findOptions : this.#settings?.filter;
    this.#regex.setAttribute("aria-pressed", String(of?.regex ?? false));
    this.#case.setAttribute("aria-pressed", String(of?.matchCase ?? false));
  }

  #toggle(name: "regex" | "matchCase"): void {
    if (this.finding) {
      this.#findOptions[name] = !this.#findOptions[name];
      this.#showSwitches();
      this.#setSought(this.#sought);
    } else this.#actions.change({ [name]: !this.#settings?.filter[name] });
  }

  /** Put an earlier filter into the box, or with -1 a later one. */
  #recall(by: number): void {
    const filters = readHistory();
    const at = Math.max(-1, Math.min(filters.length - 1, this.#recalled + by));
    if (this.#recalled === -1) this.#draft = this.#input.value;
    this.edit(filters[at] ?? this.#draft);
    this.#recalled = at;
  }

  #typed(): void {
    this.#recalled = -1;
    if (this.finding) this.#setSought(this.#input.value);
    else this.#actions.change({ grep: this.#input.value });
  }

  #setSought(text: string): void {
    this.#sought = text;
    const { regex, matchCase } = this.#findOptions;
    this.#soughtTerm = text && (regex || !/\sOR\s/.test(text) ? makeTerm(text, regex, matchCase) : joinedTerm(text, matchCase));
    this.#listTexts();
    this.#actions.find(this.#soughtTerm);
  }

  #listTexts(): void {
    const terms = this.#soughtTerm === "" ? filterTerms(this.#settings?.filter ?? {}).include : [this.#soughtTerm];
    this.texts = terms.flatMap(textsOf).map((text) => text.toLowerCase());
  }

  #key(event: KeyboardEvent): void {
    if (event.key === "Enter") {
      if (this.finding) this.#actions.step(event.shiftKey ? -1 : 1);
      else this.#commit();
    } else if (event.key === "Escape") {
      if (this.finding) this.toFilter();
      else if (this.#input.value !== "") this.edit("");
      else this.#actions.focusLines();
    } else if (!this.finding && (event.key === "ArrowUp" || (event.key === "ArrowDown" && this.#recalled >= 0))) this.#recall(event.key === "ArrowUp" ? 1 : -1);
    else if (event.key === "ArrowDown") this.#actions.focusLines();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Make chips of the text in the box. */
  #commit(): void {
    const { filter } = this.#settings ?? {};
    if (!filter || this.#input.value.trim() === "") return;
    const { include, exclude, where, level } = parseTerms(this.#input.value, filter.regex, filter.matchCase);
    if (![...include, ...exclude].every(isValidRegex)) return;
    // The history does not keep the two switches, but what they made of the text.
    const terms = [...include.map(typedText), ...exclude.map((one) => `!${one}`)];
    keepInHistory((filter.regex || filter.matchCase) && terms.length === 1 && !where[0] && !level ? terms[0] : this.#input.value);
    this.#recalled = -1;
    const all = (old: string[], more: string[]): string[] => [...new Set([...old, ...more])];
    this.#actions.change({ grep: "", regex: false, include: all(filter.include, include), exclude: all(filter.exclude, exclude), where: all(filter.where, where), level: level || filter.level });
  }

  show(settings: Settings): void {
    this.#settings = settings;
    const { filter } = settings;
    if (!this.finding && !this.#isComposing && this.#input.value !== filter.grep) this.#input.value = filter.grep;
    const levels = describeLevels(filter.level);
    setText(this.#level.button, levels);
    setAttr(this.#level.button, "aria-label", `${levels}: choose levels`);
    setClass(this.#level.button, "cl-dim", filter.level === "");
    this.#listTexts();
    this.#showAround(filter);
    this.#showSwitches();
    const chips = chipsOf(filter, settings.time === "utc");
    const key = JSON.stringify(chips);
    if (key === this.#chipsOf) return;
    this.#chipsOf = key;
    const actions = { change: this.#actions.change, edit: (text: string) => this.edit(text) };
    const focused = Array.from(this.#chips.children).findIndex((chip) => chip.contains(document.activeElement));
    this.#chips.replaceChildren(...chips.map((chip) => chipElement(chip, actions)));
    // After a chip is removed, the focus is on the next one, or on the box.
    if (focused !== -1) (this.#chips.children[Math.min(focused, chips.length - 1)]?.querySelector<HTMLElement>(".cl-x") ?? this.#input).focus({ preventScroll: true });
  }

  #levelItems(): (MenuItem | string)[] {
    const { level } = this.#settings!.filter;
    const mask = levelMask(level);
    return [
      { label: "All levels", checked: level === "", act: () => this.#actions.change({ level: "" }) },
      ...["debug", "info", "warning", "error"].map((least) => ({ label: describeLevels(least), checked: level === least, act: () => this.#actions.change({ level: least }) })),
      "Each",
      ...LEVEL_CHOICES.map(([name, bits]) => ({ label: name, checked: (mask & bits) > 0, staysOpen: true, act: () => this.#actions.change({ level: writeLevels((mask & bits) > 0 ? mask & ~bits : mask | bits) }) })),
    ];
  }

  /** Offer lines around the matches while there can be matches. */
  #showAround(filter: Filter): void {
    const { include, exclude, where, level } = filterTerms(filter);
    setHidden(this.#around, !(include[0] || exclude[0] || where[0] || level || filter.stream));
    const choices = [...new Set([...AROUND, filter.around])].toSorted((a, b) => a - b);
    if (choices.length !== this.#around.options.length) this.#around.replaceChildren(...choices.map((lines) => h("option", { value: lines }, lines === 0 ? "no context" : `± ${lines} line${lines === 1 ? "" : "s"}`)));
    this.#around.value = String(filter.around);
    setClass(this.#around, "cl-on", filter.around > 0);
  }

  /** Put a text into the box. */
  edit(text: string): void {
    this.toFilter();
    this.#recalled = -1;
    this.#input.value = text;
    this.#actions.change({ grep: text });
  }

  #update: Update | undefined;

  update(update: Update): void {
    this.#update = update;
    this.#showCount();
  }

  /** Describe which lines find searches: only loaded ones. */
  #describeSearched(shown: number, lines: number, filtered: boolean): string {
    if (filtered || shown >= lines) return groupDigits(filtered ? shown : lines);
    const { since, from } = this.#settings!.filter;
    return `${groupDigits(shown)} ${since === null && from === null ? "loaded" : "in this window"}`;
  }

  #showCount(): void {
    const { filterError = "", filtered = false, shown = 0, lines = 0, searching = 0, find, remote } = this.#update ?? {};
    const error = (this.finding && find?.error) || filterError;
    setText(this.#error, error);
    setClass(this.#input, "cl-bad", error !== "");
    setAttr(this.#input, "aria-invalid", String(error !== ""));
    setHidden(this.#steps, !this.finding || !find?.count);
    if (this.finding && find && this.#sought !== "") setText(this.#count, find.searching > 0 ? `${groupDigits(find.count)} so far…` : `${find.at >= 0 ? `${groupDigits(find.at + 1)} / ` : ""}${groupDigits(find.count)} of ${this.#describeSearched(shown, lines, filtered)}`);
    else setText(this.#count, !filtered ? "" : searching > 0 ? `${groupDigits(shown)} so far…` : `${groupDigits(shown)} of ${groupDigits(lines)}${describeRemoteSearch(remote)}`);
    setHidden(this.#remote, this.finding || !remote || remote.state === "done");
    setText(this.#remote, remote?.state === "running" ? "Stop" : remote?.state === "failed" ? "Try again" : "Search on");
    setAttr(this.#remote, "title", remote?.message || "The server searches the lines that are not loaded");
  }
}

const HISTORY = "cortex-jupyter-filters";
const MAX_HISTORY = 30;

/** Return the filters that this browser's user committed, the newest first. */
function readHistory(): string[] {
  try {
    return JSON.parse(localStorage.getItem(HISTORY) ?? "[]") as string[];
  } catch {
    return [];
  }
}

function keepInHistory(text: string): void {
  try {
    localStorage.setItem(HISTORY, JSON.stringify([text, ...without(readHistory(), text)].slice(0, MAX_HISTORY)));
  } catch {
    // The page may not store anything.
  }
}

function isValidRegex(term: string): boolean {
  try {
    return Boolean(termRegex(term));
  } catch {
    return false;
  }
}

export interface ChipActions {
  change(change: Partial<Filter>): void;
  /** Put a text into the box. */
  edit(text: string): void;
}

interface Chip {
  words: string;
  without: Partial<Filter>;
  typed?: string;
  inverted?: Partial<Filter>;
  /** Menu entries that join this chip with another one by OR. */
  choices?: [label: string, change: Partial<Filter>][];
}

const OPPOSITE: Record<string, string> = { "=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "~": "!~", "!~": "~" };


/** Return the opposite of a condition. Several conditions in one chip have no simple opposite. */
function opposite(text: string): string | null {
  const result = parseConditions(text) ?? [];
  return result.length === 1 ? `${result[0][0]}${OPPOSITE[result[0][1]]}${quoteValue(result[0][2])}` : null;
}

function without(list: string[], one: string): string[] {
  return list.filter((other) => other !== one);
}

function withAdded(list: string[], one: string): string[] {
  return list.includes(one) ? list : [...list, one];
}

/** Return a term as a user would type it: a plain text that looks like another kind of term is quoted. */
function typedText(term: string): string {
  return isRegex(term) || isPlainText(term) ? term : `"${term}"`;
}

function chipsOf(filter: Filter, utc: boolean): Chip[] {
  const { include, exclude, where, stream, from, until } = filter;
  const chips: Chip[] = [];
  if (from !== null && until !== null) {
    chips.push({ words: formatRange(from, until, utc), without: { from: null, until: null } });
  }
  for (const term of include) {
    const rest = without(include, term);
    chips.push({ words: `${patternText(term) === null ? "contains" : "like"} ${describeTerm(term)}`, without: { include: rest }, typed: typedText(term), inverted: { include: rest, exclude: withAdded(exclude, term) }, choices: rest.filter((other) => textsOf(term)[0] && textsOf(other)[0]).map((other) => [`Or ${describeTerm(other)}`, { include: [...without(rest, other), anyOf([term, other])] }]) });
  }
  for (const term of exclude) {
    const rest = without(exclude, term);
    chips.push({ words: `not ${patternText(term) === null ? "" : "like "}${describeTerm(term)}`, without: { exclude: rest }, typed: `!${term}`, inverted: { exclude: rest, include: withAdded(include, term) } });
  }
  for (const text of where) {
    const rest = without(where, text);
    const other = opposite(text);
    chips.push({ words: describeCondition(text), without: { where: rest }, typed: text, inverted: other === null ? undefined : { where: withAdded(rest, other) } });
  }
  for (const [name, value] of Object.entries({ ...sourceChoice(filter), stream })) if (value) chips.push({ words: `${name} ${value}`, without: { [name]: "" } });
  return chips;
}

function chipElement(chip: Chip, actions: ChipActions): HTMLElement {
  const remove = (): void => actions.change(chip.without);
  const menu = new Menu(chip.words, `${chip.words}: invert, edit or remove`, () => [
    ...(chip.inverted ? [{ label: "Invert", act: () => actions.change(chip.inverted!) }] : []),
    ...(chip.typed === undefined ? [] : [{ label: "Edit", act: () => {
      remove();
      actions.edit(chip.typed!);
    } }]),
    ...(chip.choices ?? []).map(([label, change]) => ({ label, act: () => actions.change(change) })),
    { label: "Remove", act: remove },
  ], "cl-cw");
  return h("span", { class: "cl-chip" }, menu.element, button("×", `Remove: ${chip.words}`, remove, { class: "cl-x" }));
}

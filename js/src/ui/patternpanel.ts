/** The panel of patterns and fields: which kinds of lines there are, how often over time, and the commonest values of their fields. */

import { type Field, type Pattern, type Patterns, readPatterns, timesOf } from "../client/patterns.ts";
import type { Session } from "../client/session.ts";
import type { PanelTab, Settings } from "../client/settings.ts";
import type { Problem } from "../protocol/events.ts";
import type { Update } from "../protocol/update.ts";
import { writeCondition } from "../text/conditions.ts";
import { formatShortClock, groupDigits, shortCount } from "../text/format.ts";
import { button, focusedIn, focusOn, h, listen, setAttr, setClass, setHidden, setText, svg } from "./dom.ts";
import type { RankList } from "./ranklist.ts";
import { formatNumber } from "./scale.ts";

/** The placeholder of the server for what varies. */
const ANY = "<*>";
/** Patterns are read again after this time (ms) at the earliest, and after ten times as long as reading them took. */
const AGAIN_MS = 5000;
const AGAIN_TIMES = 10;
/** Progress is shown from this time on (ms). */
const PROGRESS_MS = 1000;
/** Number of values of a field that are shown. */
const MAX_VALUES = 5;
const TABS = [["patterns", "Patterns"], ["fields", "Fields"], ["ranks", "Ranks"]] as const;
const SPARK = { width: 64, height: 14 };
const ORDERS = [["count", "most frequent"], ["level", "errors first"], ["first", "newest first"]] as const;
type Order = (typeof ORDERS)[number][0];
const SEVERITY: Record<string, number> = { critical: 3, error: 2, warning: 1 };
const BY_ORDER: Record<Order, (a: Pattern, b: Pattern) => number> = {
  count: (a, b) => timesOf(b) - timesOf(a),
  level: (a, b) => (SEVERITY[b.level ?? ""] ?? 0) - (SEVERITY[a.level ?? ""] ?? 0) || timesOf(b) - timesOf(a),
  first: (a, b) => b.first - a.first,
};

export class PatternPanel {
  #tabs = TABS.map(([tab, label]) => h("button", { "aria-pressed": "false", onclick: () => this.#session.change({ panel: tab }) }, label));
  #order = h("select", { class: "cl-dim", "aria-label": "Order of the patterns" }, ...ORDERS.map(([value, label]) => h("option", { value }, label)));
  #coverage = h("span", { class: "cl-dim cl-of" });
  #patterns = new RowList("Patterns");
  #fields = new RowList("Fields");
  #message = h("p", { class: "cl-dim", hidden: true });
  #failure = h("div", { class: "cl-unloaded", role: "alert", hidden: true });
  readonly element = h(
    "div",
    { class: "cl-panel cl-pats", role: "group", "aria-label": "Patterns and fields", hidden: true },
    h("div", { class: "cl-bar cl-chead" }, h("span", { class: "cl-seg", role: "group", "aria-label": "Show" }, ...this.#tabs), this.#order, this.#coverage, h("span", { class: "cl-grow" }), button("×", "Close the patterns and fields (P)", () => this.#session.change({ panel: "" }), { class: "btn cl-x" })),
    this.#failure,
    this.#message,
    this.#patterns.element,
    this.#fields.element,
  );
  #tab: PanelTab = "";
  #settings: Settings;
  #update: Update | undefined;
  #found: Patterns | undefined;
  #reading: AbortController | undefined;
  #share = 0;
  #problem: Problem | undefined;
  /** Time of the newest line, and the tasks, when the patterns were read. */
  #readOf = "";
  #nextAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly #session: Session;
  readonly #ranks: RankList;

  constructor(session: Session, ranks: RankList) {
    this.#session = session;
    this.#ranks = ranks;
    this.#settings = session.settings;
    listen(this.#order, "change", () => this.#draw(true));
  }

  show(settings: Settings): void {
    this.#settings = settings;
    this.#tab = settings.chart === "" ? settings.panel : "";
    setHidden(this.element, this.#tab === "");
    for (const [i, tab] of this.#tabs.entries()) setAttr(tab, "aria-pressed", String(this.#tab === TABS[i][0]));
    this.#ranks.showIn(this.element, this.#tab === "ranks");
    if (this.#tab === "" || this.#tab === "ranks") this.#stop();
    else this.#readIfDue();
    this.#draw();
  }

  update(update: Update): void {
    this.#update = update;
    this.#readIfDue();
  }

  close(): void {
    this.#stop();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    if (this.#reading === undefined) return;
    this.#reading.abort();
    this.#reading = undefined;
    this.#readOf = "";
  }

  /** Read the patterns when the panel is first shown, and again when there are new lines, but not too often. */
  #readIfDue(): void {
    if (this.#tab === "" || this.#tab === "ranks" || this.#reading !== undefined || this.#update === undefined || this.#problem !== undefined) return;
    const { newest, link, tasks } = this.#update;
    if (link === "connecting") return;
    const readOf = JSON.stringify([newest, tasks.map(({ task, complete }) => [task, complete?.records])]);
    if (readOf === this.#readOf) return;
    // The patterns of a task that has ended are read once more, and at once. Otherwise a timer, since no update may follow.
    clearTimeout(this.#timer);
    const inMs = tasks.every(({ ended }) => ended) ? 0 : this.#nextAt - Date.now();
    if (inMs > 0) this.#timer = setTimeout(() => this.#readIfDue(), inMs);
    else void this.#read(readOf);
  }

  async #read(readOf: string): Promise<void> {
    const reading = (this.#reading = new AbortController());
    const startedAt = Date.now();
    this.#readOf = readOf;
    this.#share = 0;
    const slow = setTimeout(() => this.#showCoverage(), PROGRESS_MS);
    try {
      const found = await readPatterns(this.#session, this.#update!.transport === "comm", reading.signal, (share) => {
        this.#share = share;
        if (Date.now() - startedAt >= PROGRESS_MS) this.#showCoverage();
      });
      if (reading !== this.#reading) return;
      this.#found = found;
    } catch (problem) {
      if (reading !== this.#reading) return;
      this.#problem = problem as Problem;
    } finally {
      clearTimeout(slow);
      if (reading === this.#reading) {
        this.#reading = undefined;
        this.#nextAt = Date.now() + Math.max(AGAIN_MS, AGAIN_TIMES * (Date.now() - startedAt));
        this.#draw();
        this.#readIfDue();
      }
    }
  }

  #retry(): void {
    this.#problem = undefined;
    this.#readOf = "";
    this.#nextAt = 0;
    this.#draw();
    this.#readIfDue();
    focusOn(this.#tabs[0]);
  }

  #draw(reorder = false): void {
    if (this.#tab === "") return;
    const isPatterns = this.#tab === "patterns";
    const { patterns = [], fields = [] } = this.#found ?? {};
    setHidden(this.#order, !isPatterns || patterns.length < 2);
    setHidden(this.#patterns.element, !isPatterns);
    setHidden(this.#fields.element, this.#tab !== "fields");
    if (this.#tab === "ranks") return void this.#clear();
    if (isPatterns) this.#patterns.show(patterns.toSorted(BY_ORDER[this.#order.value as Order]).map((one) => ({ key: one.pattern, make: () => this.#patternRow(), draw: (row) => this.#drawPattern(row, one) })), reorder);
    else this.#fields.show(fields.map((one) => ({ key: one.name, make: () => h("div", { class: "cl-fld" }), draw: (row) => this.#drawField(row, one) })), reorder);
    this.#showCoverage();
    this.#showFailure();
  }

  /** Show nothing of patterns and fields beside the ranks. */
  #clear(): void {
    setText(this.#coverage, "");
    setHidden(this.#message, true);
    setHidden(this.#failure, true);
  }

  #showCoverage(): void {
    if (this.#tab === "ranks") return;
    const { looked = 0, lines = 0, left_out: leftOut = 0 } = this.#found ?? {};
    const isFirst = this.#reading !== undefined && this.#found === undefined;
    const part = looked < lines ? `newest ${shortCount(looked)} of ${shortCount(lines)} lines` : "";
    const more = this.#tab === "patterns" && leftOut > 0 ? `${groupDigits(leftOut)} rarer left out` : "";
    setText(this.#coverage, isFirst ? (this.#share < 1 ? `reading ${Math.floor(100 * this.#share)} %…` : "grouping…") : part || more);
    setAttr(this.#coverage, "title", isFirst ? "The whole log is read" : [part && "Only the newest lines are grouped", more].filter(Boolean).join("; ") || "Of the whole log");
    const empty = this.#tab === "patterns" ? "No lines yet." : "No line has fields. Lines of JSON, and of key=value pairs and nothing else, have.";
    const isEmpty = this.#found !== undefined && (this.#tab === "patterns" ? this.#found.patterns : this.#found.fields).length === 0;
    setText(this.#message, isEmpty ? empty : "");
    setHidden(this.#message, !isEmpty);
  }

  #showFailure(): void {
    setHidden(this.#failure, this.#problem === undefined);
    if (this.#problem === undefined) this.#failure.replaceChildren();
    else if (this.#failure.childElementCount === 0) {
      const { message, hint = "" } = this.#problem;
      this.#failure.append(h("p", {}, `The patterns could not be read: ${message}`), h("p", { class: "cl-dim" }, hint), button("Try again", "Try again", () => this.#retry(), { class: "btn cl-outline" }));
    }
  }

  #patternRow(): HTMLElement {
    const spark = svg("svg", { class: "cl-spark", width: String(SPARK.width), height: String(SPARK.height), "aria-hidden": "true" });
    spark.append(svg("path", {}));
    const only = h("button", { class: "cl-pat-only", onclick: () => this.#toggle(row.dataset.term!, "include") }, h("span", { class: "cl-pat-n" }), spark as unknown as Node, h("span", { class: "cl-pat-t" }));
    const row = h("div", { class: "cl-pat" }, only, h("button", { class: "cl-pat-hide", onclick: () => this.#toggle(row.dataset.term!, "exclude") }, "⊘"));
    return row;
  }

  #drawPattern(row: HTMLElement, one: Pattern): void {
    const { pattern, count, counts, level, grep, first, last, pods } = one;
    const times = timesOf(one);
    const [only, hide] = row.children as unknown as HTMLButtonElement[];
    const [number, spark, text] = only.children as unknown as HTMLElement[];
    const term = termOf(grep);
    const { include, exclude } = this.#settings.filter;
    setAttr(row, "data-level", level ?? "");
    setAttr(row, "data-term", term);
    setText(number, shortCount(times));
    setAttr(spark.firstElementChild!, "d", bars(counts));
    if (text.dataset.pattern !== pattern) {
      text.dataset.pattern = pattern;
      text.replaceChildren(...pattern.split(ANY).flatMap((part, i) => (i === 0 ? [part] : [h("span", { class: "cl-k" }, "·"), part])));
    }
    const readable = pattern.replaceAll(ANY, "·");
    const span = `${formatShortClock(first / 1e6, true)} to ${formatShortClock(last / 1e6, true)}`;
    const what = `${times === count ? "" : times === 1 ? "once, " : `${groupDigits(times)} times, `}${groupDigits(count)} line${count === 1 ? "" : "s"}, ${span}${pods > 1 ? `, ${pods} pods` : ""}`;
    const isOnly = term !== "" && include.includes(term);
    const isHidden = term !== "" && exclude.includes(term);
    setAttr(only, "title", term === "" ? `${what}\nNo filter finds these lines` : `${isOnly ? "Show the other lines, too" : "Show only these lines"}\n${readable}\n${what}`);
    setAttr(only, "aria-pressed", String(isOnly));
    setAttr(hide, "title", isHidden ? "Show these lines again" : "Hide these lines");
    setAttr(hide, "aria-label", `Hide ${readable}`);
    setAttr(hide, "aria-pressed", String(isHidden));
    only.disabled = hide.disabled = term === "";
    setClass(row, "cl-pat-off", isHidden);
  }

  /** Show only the lines of one pattern, or hide them, or take that back. */
  #toggle(term: string, list: "include" | "exclude"): void {
    const terms = new Set((this.#found?.patterns ?? []).map(({ grep }) => termOf(grep)));
    const { include, exclude } = this.#settings.filter;
    const isOn = this.#settings.filter[list].includes(term);
    // A line has one pattern, so two of them would show nothing.
    const rest = include.filter((other) => (list === "include" ? !terms.has(other) : other !== term));
    const kept = exclude.filter((other) => other !== term);
    this.#session.change({ include: list === "include" && !isOn ? [...rest, term] : rest, exclude: list === "exclude" && !isOn ? [...kept, term] : kept });
  }

  #drawField(row: HTMLElement, { name, lines, distinct, values, least, most }: Field): void {
    const { where, fields } = this.#settings.filter;
    const isColumn = fields.includes(name);
    const isVaried = values.length === 0 || values[0][1] === 1;
    const range = least === null || most === null ? "" : least === most ? "" : `${formatNumber(least)} to ${formatNumber(most)}`;
    const state = JSON.stringify([lines, distinct, values, range, isColumn, values.map(([text]) => where.includes(writeCondition([name, "=", text])))]);
    if (row.dataset.state === state) return;
    row.dataset.state = state;
    const head = h("button", { class: "cl-fld-h", "aria-pressed": String(isColumn), title: isColumn ? `No column of ${name}` : `Show ${name} as a column`, onclick: () => this.#session.chooseField(name) }, h("b", {}, name), h("small", {}, [`${shortCount(lines)} line${lines === 1 ? "" : "s"}`, distinct > 1 ? `${shortCount(distinct)} values` : "", range].filter(Boolean).join(" · ")), h("span", { class: "cl-fld-c" }, isColumn ? "▥ column" : "▥"));
    const list = isVaried && distinct > 1 ? [] : values.slice(0, MAX_VALUES).map(([text, count]) => {
      const condition = writeCondition([name, "=", text]);
      const isOn = where.includes(condition);
      return h("button", { class: "cl-val", "aria-pressed": String(isOn), title: isOn ? `Take ${condition} out of the filter` : `Only lines with ${condition}`, style: `--share:${((100 * count) / lines).toFixed(1)}%`, onclick: () => this.#session.change({ where: isOn ? where.filter((one) => one !== condition) : [...where, condition] }) }, h("span", {}, text || "(empty)"), h("small", {}, shortCount(count)));
    });
    const place = [...row.children].indexOf(focusedIn(row)!);
    row.replaceChildren(head, ...list);
    if (place >= 0) focusOn(row.children[place] as HTMLElement);
  }
}

function termOf(grep: string | null): string {
  return grep === null ? "" : `/${grep}/c`;
}

/** Return counts as the path of a bar chart. A count that is not 0 is at least a pixel high. */
function bars(counts: number[]): string {
  const most = Math.max(1, ...counts);
  const width = SPARK.width / counts.length;
  return counts.map((count, i) => (count === 0 ? "" : `M${(i * width).toFixed(1)} ${SPARK.height}v${-Math.max(1, (SPARK.height * count) / most).toFixed(1)}h${(width - 0.5).toFixed(1)}V${SPARK.height}z`)).join("");
}

interface ListEntry {
  key: string;
  make(): HTMLElement;
  draw(row: HTMLElement): void;
}

/** A list whose rows keep their elements. While the pointer or the focus is in it, rows keep their places, too. */
class RowList {
  readonly element: HTMLElement;
  #rows = new Map<string, HTMLElement>();

  constructor(label: string) {
    this.element = h("div", { class: "cl-plist", role: "group", "aria-label": label, hidden: true });
    listen(this.element, "keydown", (event) => this.#key(event));
  }

  show(entries: ListEntry[], reorder: boolean): void {
    const isInUse = !reorder && (this.element.matches(":hover") || focusedIn(this.element) !== null);
    const places = new Map([...this.#rows.keys()].map((key, i) => [key, i]));
    const ordered = isInUse ? entries.toSorted((a, b) => (places.get(a.key) ?? Infinity) - (places.get(b.key) ?? Infinity) || 0) : entries;
    const rows = new Map<string, HTMLElement>();
    for (const { key, make, draw } of ordered) {
      const row = this.#rows.get(key) ?? make();
      rows.set(key, row);
      draw(row);
    }
    this.#rows = rows;
    const elements = new Set<Element>(rows.values());
    for (const row of Array.from(this.element.children)) if (!elements.has(row)) row.remove();
    // Move only rows that are elsewhere: one that is moved loses the focus.
    for (const [i, row] of [...elements].entries()) if (this.element.children[i] !== row) this.element.insertBefore(row, this.element.children[i] ?? null);
    this.#leaveOneTabStop();
  }

  get #buttons(): HTMLButtonElement[] {
    return [...this.element.querySelectorAll("button")];
  }

  /** The list has one stop for the Tab key. The arrow keys move within it. */
  #leaveOneTabStop(): void {
    const buttons = this.#buttons;
    const focused = focusedIn(this.element);
    const current = buttons.find((one) => one === focused) ?? buttons.find((one) => one.tabIndex === 0 && !one.disabled) ?? buttons.find((one) => !one.disabled);
    for (const one of buttons) one.tabIndex = one === current ? 0 : -1;
  }

  #key(event: KeyboardEvent): void {
    const buttons = this.#buttons.filter((one) => !one.disabled);
    const focused = focusedIn(this.element) as HTMLButtonElement | null;
    if (focused === null) return;
    const at = buttons.indexOf(focused);
    const rows = [...new Set(buttons.map((one) => one.parentElement))];
    const rowAt = (by: number): number => buttons.findIndex((one) => one.parentElement === rows[rows.indexOf(focused.parentElement) + by]);
    const to = { ArrowDown: rowAt(1), ArrowUp: rowAt(-1), ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (buttons[to] === undefined) return;
    focusOn(buttons[to]);
    buttons[to].scrollIntoView({ block: "nearest" });
    this.#leaveOneTabStop();
  }
}

/**
 * The list of sources, with an entry for each container. A click shows only that container, its switch hides or shows it; a
 * restarted one opens into its runs. The heading of a role does the same with all containers of that role. Only the rows in
 * sight are elements, because a task may have hundreds of sources.
 */

import type { RunSummary, ContainerSummary } from "../protocol/update.ts";
import { colourStyle } from "../text/colours.ts";
import { formatAge, groupDigits, shortCount } from "../text/format.ts";
import { button, h, listen, setAttr, setClass, setHidden, setStyle, setText } from "./dom.ts";
import type { RankBadge } from "./ranklist.ts";
import { type RoleGroup, roleGroups, type RunEntry, sourceEntries, type SourceEntry } from "./sourcenames.ts";

/** A row of the list. All rows have the same height. */
type ListRow = { id: string; name: string; /** Of its switch. */ label: string } & (
  | { kind: "heading" }
  | { kind: "entry"; entry: SourceEntry }
  | { kind: "run"; entry: SourceEntry; run: RunEntry }
  | { kind: "role"; entry: SourceEntry; role: RoleGroup }
);

interface RowElements {
  element: HTMLElement;
  /** The properties of the row on which the elements depend. */
  drawnState: string;
  /** A heading has none. */
  parts?: RowParts;
}

interface RowParts {
  element: HTMLElement;
  toggle: HTMLButtonElement;
  only: HTMLButtonElement;
  /** A note on its rank, how it ended, and its number of lines. */
  badge: HTMLElement;
  end: HTMLElement;
  count: HTMLElement;
  fold: HTMLButtonElement;
}

/** Height of a row (px), as in the style sheet. */
const ROW_PX = 24;
/** Number of rows above and below those in sight that are elements, too. */
const MARGIN_ROWS = 8;
/** Number of rows that are elements while the height of the list is not known. */
const UNMEASURED_ROWS = 40;
/** From this number of entries on, the list can be searched and sorted. */
const MANY_ENTRIES = 12;

const ORDERS = [["name", "by name"], ["lines", "most lines"], ["errors", "most errors"], ["last", "last line"]] as const;
type Order = (typeof ORDERS)[number][0];

/** The focusable parts of a row, from left to right. */
const PARTS = ["toggle", "only", "fold"] as const;

/** Return whether a sidecar was stopped with SIGTERM (exit 128 + 15) after its pod's work was done, which is no failure. */
function stoppedWithPod({ group, ended, exit }: Pick<SourceEntry, "group" | "ended" | "exit">): boolean {
  return group === "sidecars" && ended && exit === 143;
}

/** Describe the state of a container. */
export function describeState({ group, ended, exit, waiting }: Pick<SourceEntry, "group" | "ended" | "exit" | "waiting">): string {
  if (waiting) return "waiting";
  if (!ended) return "running";
  if (stoppedWithPod({ group, ended, exit })) return "stopped with its pod";
  return exit === null ? "ended" : exit === 0 ? "done" : `failed, exit ${exit}`;
}

function describeRunState({ state, exit }: RunSummary): string {
  return describeState({ group: "", ended: state === "ended", waiting: state === "waiting", exit });
}

function lineCount(lines: number): string {
  return `${groupDigits(lines)} line${lines === 1 ? "" : "s"}`;
}

/** Return an element for a name. If there is no room for all of it, its end stays readable, because the names of pods differ there. */
function nameElement(name: string): HTMLElement {
  const [, begin, end] = name.match(/^(.+ · attempt)( .+)$/) ?? name.match(/^(\S+?)(-[^-\s]{1,6}(?:\s.*)?)$/) ?? [name, name, ""];
  return h("span", { class: "cl-sn" }, h("span", {}, begin), h("span", {}, end));
}

export class SourceList {
  readonly element: HTMLElement;
  #head = h("h3", {});
  #all = button("all", "Show the lines of all sources", () => this.#choose([]), { hidden: true });
  #othersButton = h("button", { class: "btn cl-others", hidden: true, onclick: () => this.#toggleOthers() });
  #search = h("input", { type: "text", class: "cl-input", placeholder: "Search", "aria-label": "Search sources", title: "Names of pods, containers and nodes. Enter: show only these", spellcheck: "false", autocomplete: "off" });
  #order = h("select", { class: "cl-chip", "aria-label": "Order of the sources" }, ...ORDERS.map(([value, text]) => h("option", { value }, text)));
  #tools = h("div", { class: "cl-stools", hidden: true }, this.#search, this.#order);
  #list = h("div", { class: "cl-list", role: "list" });
  #scroller = h("div", { class: "cl-srcs" }, this.#list);
  #none = h("p", { class: "cl-dim", hidden: true }, "No source has this name.");
  #elements = new Map<string, RowElements>();
  #entries: SourceEntry[] = [];
  #roles: RoleGroup[] = [];
  #rows: ListRow[] = [];
  /** Indexes of the rows by id. */
  #indexes = new Map<string, number>();
  #switches = new SourceSwitches([]);
  /** Of containers whose ranks stand out, by their keys. */
  #badges = new Map<string, RankBadge>();
  /** The current time (ms). */
  now = 0;
  /** Whether the pointer is over the list. Only then are titles with ages updated, and only then entries keep their order. */
  #isHovered = false;
  /** Height of the part in sight (px); 0 if it is not known. */
  #height = 0;
  /** Keys of the containers whose runs are listed. */
  #open = new Set<string>();
  /** Ids of the roles whose containers are not listed. */
  #folded = new Set<string>();
  /** Id of the row that Tab moves to. The arrow keys move to the others, so that one Tab leaves a long list. */
  #tabStop = "";

  readonly #choose: (off: string[]) => void;
  readonly #go: (time: number) => void;

  constructor(
    choose: (off: string[]) => void,
    go: (time: number) => void,
  ) {
    this.#choose = choose;
    this.#go = go;
    this.element = h("div", { class: "cl-side cl-none", role: "group", "aria-label": "Sources" }, h("div", { class: "cl-shead" }, this.#head, this.#all), this.#othersButton, this.#tools, this.#none, this.#scroller);
    listen(this.element, "pointerover", () => {
      this.#isHovered = true;
      this.#draw();
    });
    listen(this.element, "pointerleave", () => (this.#isHovered = false));
    listen(this.#scroller, "scroll", () => this.#drawRows(), { passive: true });
    listen(this.#list, "focusin", ({ target }) => this.#setTabStop((target as Element).closest<HTMLElement>(".cl-src")?.dataset.key));
    listen(this.#list, "keydown", (event) => this.#onKey(event));
    listen(this.#search, "input", () => this.#relist());
    listen(this.#search, "keydown", (event) => this.#onSearchKey(event));
    listen(this.#order, "change", () => this.#relist());
  }

  update(sources: ContainerSummary[], now: number): void {
    this.#entries = sourceEntries(sources);
    this.#roles = roleGroups(this.#entries);
    this.#switches = new SourceSwitches(sources);
    this.now = now;
    this.#draw();
  }

  mark(badges: Map<string, RankBadge>): void {
    this.#badges = badges;
    this.#drawRows();
  }

  /** Measure the list, whose height has changed, or which is shown now. */
  measure(): void {
    this.#height = this.#scroller.clientHeight;
    this.#drawRows();
  }

  #draw(): void {
    const entries = this.#entries;
    const on = entries.filter((entry) => entry.on).length;
    setClass(this.element, "cl-none", entries.length === 0);
    setText(this.#head, `${on} of ${entries.length} source${entries.length === 1 ? "" : "s"}`);
    setHidden(this.#all, entries.every((entry) => entry.on && entry.runs.every((one) => one.on)));
    setHidden(this.#othersButton, entries.every(({ isMain }) => isMain));
    setText(this.#othersButton, this.#othersText());
    setHidden(this.#tools, entries.length < MANY_ENTRIES);
    this.#rows = this.#listRows();
    this.#indexes = new Map(this.#rows.map(({ id }, index) => [id, index]));
    setHidden(this.#none, this.#rows.length > 0 || entries.length === 0);
    setStyle(this.#list, "height", `${this.#rows.length * ROW_PX}px`);
    this.#drawRows();
  }

  /** Draw the list after its search or its order has changed. */
  #relist(): void {
    this.#scroller.scrollTop = 0;
    this.#draw();
  }

  /** Return what a click on the button for the containers that are not the main ones does. */
  #othersText(): string {
    const mains = this.#entries.filter(({ isMain }) => isMain);
    const others = this.#entries.filter(({ isMain }) => !isMain);
    const areShown = others.some((entry) => entry.on);
    if (!mains.every((entry) => entry.on)) return "Show the main containers";
    return `${areShown ? "Hide" : "Show"} ${others.some(({ group }) => group !== "") ? "init and sidecars" : "other containers"}`;
  }

  #isOpen({ keys, on, runs }: SourceEntry): boolean {
    return this.#open.has(keys[0]) || (on && runs.some((one) => !one.on));
  }

  get #words(): string[] {
    return this.#tools.hidden ? [] : this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
  }

  get #chosenOrder(): Order {
    return this.#order.value as Order;
  }

  /** Return the entries that the search finds, in the chosen order. */
  #listedEntries(): SourceEntry[] {
    const words = this.#words;
    const text = ({ name, full, nodes }: SourceEntry): string => `${name} ${full} ${nodes.join(" ")}`.toLowerCase();
    const entries = words.length === 0 ? this.#entries : this.#entries.filter((entry) => words.every((word) => text(entry).includes(word)));
    const order = this.#chosenOrder;
    if (order === "name") return entries;
    // Entries do not change places while a user is about to click one.
    if (this.#isHovered && this.#sortedBy === order) {
      const place = ({ keys: [id] }: SourceEntry): number => this.#indexes.get(id) ?? Infinity;
      return entries.toSorted((a, b) => place(a) - place(b) || 0);
    }
    this.#sortedBy = order;
    const value = (entry: SourceEntry): number => (order === "last" ? entry.lastLineAt : entry[order]);
    return entries.toSorted((a, b) => value(b) - value(a));
  }

  #sortedBy: Order = "name";

  #listRows(): ListRow[] {
    const rows: ListRow[] = [];
    const isPlain = this.#chosenOrder === "name";
    const isSearched = this.#words.length > 0;
    if (isPlain) this.#sortedBy = "name";
    let [group, team] = ["", ""];
    for (const entry of this.#listedEntries()) {
      const { keys: [id], name } = entry;
      if (isPlain && entry.group !== group) rows.push({ kind: "heading", id: `h ${entry.group}`, name: (group = entry.group), label: "" });
      const role = isPlain && entry.team !== team ? this.#roles.find((one) => one.id === entry.team) : undefined;
      if (isPlain) team = entry.team;
      if (role) rows.push({ kind: "role", id: role.id, name: role.name, label: role.name, entry, role });
      if (isPlain && !isSearched && this.#folded.has(team)) continue;
      rows.push({ kind: "entry", id, name, label: `${name} ${entry.full}`, entry });
      if (this.#isOpen(entry)) for (const run of entry.runs) rows.push({ kind: "run", id: run.key, name: run.name, label: `${name} ${run.name}`, entry, run });
    }
    return rows;
  }

  /** Draw the rows in sight. The row that Tab moves to stays an element wherever it is, so that the focus is not lost. */
  #drawRows(): void {
    if (!this.#indexes.has(this.#tabStop)) this.#tabStop = this.#rows.find(({ kind }) => kind !== "heading")?.id ?? "";
    const { focused, part } = this.#focusedPart();
    const top = this.#height === 0 ? 0 : this.#scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW_PX) - MARGIN_ROWS);
    const end = this.#height === 0 ? UNMEASURED_ROWS : Math.ceil((top + this.#height) / ROW_PX) + MARGIN_ROWS;
    const stop = this.#indexes.get(this.#tabStop);
    const indexes = Array.from({ length: Math.max(0, Math.min(end, this.#rows.length) - first) }, (_unused, i) => first + i);
    if (stop !== undefined && stop < first) indexes.unshift(stop);
    else if (stop !== undefined && stop >= first + indexes.length) indexes.push(stop);
    const drawn = new Set(indexes.map((index) => this.#rows[index].id));
    for (const [id, { element }] of this.#elements) {
      if (drawn.has(id)) continue;
      element.remove();
      this.#elements.delete(id);
    }
    let before: Element | null = null;
    for (const index of indexes) {
      const element = this.#drawRow(this.#rows[index], index);
      const next: Element | null = before === null ? this.#list.firstElementChild : before.nextElementSibling;
      if (next !== element) this.#list.insertBefore(element, next);
      before = element;
    }
    if (part && document.activeElement !== this.#partsOf(focused)?.[part]) this.#partsOf(focused)?.[part].focus({ preventScroll: true });
  }

  #partsOf(id = ""): RowParts | undefined {
    return this.#elements.get(id)?.parts;
  }

  #focusedPart(): { focused?: string; part?: (typeof PARTS)[number] } {
    const { activeElement } = document;
    const focused = activeElement?.closest<HTMLElement>(".cl-src")?.dataset.key;
    return { focused, part: PARTS.find((name) => this.#partsOf(focused)?.[name] === activeElement) };
  }

  /** Return the element of a row, with its present texts. */
  #drawRow(row: ListRow, index: number): HTMLElement {
    const drawnState = `${row.label} ${row.kind === "heading" ? "" : row.entry.colour}`;
    let elements = this.#elements.get(row.id);
    if (elements?.drawnState !== drawnState) {
      elements?.element.remove();
      elements = { ...this.#makeRow(row), drawnState };
      this.#elements.set(row.id, elements);
    }
    const { element, parts } = elements;
    setStyle(element, "top", `${index * ROW_PX}px`);
    setAttr(element, "aria-posinset", String(index + 1));
    setAttr(element, "aria-setsize", String(this.#rows.length));
    const tabIndex = row.id === this.#tabStop ? 0 : -1;
    if (parts) for (const part of PARTS) if (parts[part].tabIndex !== tabIndex) parts[part].tabIndex = tabIndex;
    if (row.kind === "entry") this.#show(parts!, row.entry);
    else if (row.kind === "run") this.#showRun(parts!, row.run, row.entry);
    else if (row.kind === "role") this.#showRole(parts!, row.role);
    return element;
  }

  #makeRow(row: ListRow): Omit<RowElements, "drawnState"> {
    const { id, kind, name, label } = row;
    if (kind === "heading") return { element: h("div", { class: "cl-item", role: "listitem" }, h("h3", {}, name)) };
    const press = (part: (typeof PARTS)[number]) => () => this.#press(row, part);
    const element = h("div", { class: `cl-item cl-src cl-${kind}`, role: "listitem", style: colourStyle(row.entry.colour), "data-key": id });
    const parts: RowParts = {
      element,
      toggle: h("button", { type: "button", role: "switch", class: "cl-swb", "aria-label": label, onclick: press("toggle") }, h("span", { class: `cl-sw ${row.entry.group ? "cl-many" : ""}` }), h("span", { class: "cl-hid" }, label)),
      only: h("button", { type: "button", class: "cl-only", onclick: press("only") }, nameElement(name)),
      fold: button("", "", press("fold"), { class: "cl-le cl-runs", hidden: true }),
      badge: h("span", { class: "cl-badge", hidden: true }),
      end: h("span", {}),
      count: h("span", {}),
    };
    element.append(parts.toggle, parts.only, parts.fold, h("small", { onclick: press("only") }, parts.badge, parts.end, parts.count));
    return { element, parts };
  }

  #press(row: Exclude<ListRow, { kind: "heading" }>, part: (typeof PARTS)[number]): void {
    const { id, kind } = row;
    const [source] = row.entry.keys;
    if (part === "fold") this.#flip(kind === "role" ? this.#folded : this.#open, kind === "role" ? id : source);
    else if (kind !== "run") (part === "only" ? this.#only : this.#toggle).call(this, id);
    else if (part === "only") this.#onlyRun(source, id);
    else this.#choose(this.#switches.toggledRun(source, id));
  }

  #setTabStop(id: string | undefined): void {
    if (id === undefined || id === this.#tabStop) return;
    this.#tabStop = id;
    this.#drawRows();
  }

  #onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const { focused = "", part = "only" } = this.#focusedPart();
    const at = this.#indexes.get(focused);
    if (at === undefined) return;
    const last = this.#rows.length - 1;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const by = event.key === "Home" || to === at + 1 ? 1 : -1;
    let index = Math.max(0, Math.min(to, last));
    while (this.#rows[index]?.kind === "heading") index += by;
    if (this.#rows[index] !== undefined) this.#focusRow(index, part);
  }

  /** Scroll to a row, and focus one of its parts. */
  #focusRow(index: number, part: (typeof PARTS)[number]): void {
    const { scrollTop } = this.#scroller;
    if (this.#height > 0) this.#scroller.scrollTop = Math.max((index + 1) * ROW_PX - this.#height, Math.min(scrollTop, index * ROW_PX));
    this.#setTabStop(this.#rows[index].id);
    const row = this.#partsOf(this.#rows[index].id)!;
    row[row[part].hidden ? "only" : part].focus({ preventScroll: true });
  }

  #onSearchKey(event: KeyboardEvent): void {
    if (event.key === "Escape") {
      this.#search.value = "";
      this.#relist();
    } else if (event.key === "Enter") {
      if (this.#words.length > 0 && this.#rows.length > 0) this.#choose(this.#switches.exactly(this.#listedEntries().flatMap(({ keys }) => keys)));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #show(elements: RowParts, entry: SourceEntry): void {
    const { fold, only, badge } = elements;
    const rank = this.#badges.get(entry.keys[0]);
    setHidden(badge, rank === undefined);
    setText(badge, rank?.note ?? "");
    setAttr(badge, "data-tone", rank?.tone ?? "");
    setAttr(badge, "title", rank?.title ?? "");
    const exit = stoppedWithPod(entry) ? 0 : entry.exit;
    const bad = entry.ended && (exit ?? 0) !== 0;
    const order = this.#chosenOrder;
    const count = order === "errors" ? shortCount(entry.errors) : order === "last" ? (entry.lastLineAt > 0 ? this.#ago(entry.lastLineAt) : "") : entry.waiting ? "waiting" : bad || (rank && order === "name") ? "" : shortCount(entry.lines);
    this.#paint(elements, entry.name, entry.on, count, rank === undefined && (order === "name" || order === "lines") && entry.ended ? exit : null);
    const { restarts } = entry;
    const times = `${restarts} time${restarts === 1 ? "" : "s"}`;
    const open = this.#isOpen(entry);
    setHidden(fold, restarts === 0);
    if (fold.disabled !== (entry.runs.length === 0)) fold.disabled = entry.runs.length === 0;
    setText(fold, restarts > 0 ? `↻${restarts}` : "");
    const folds = `Restarted ${times}${entry.runs.length > 0 ? `: ${open ? "fold" : "show"} its runs` : ""}`;
    if (restarts > 0) for (const name of ["title", "aria-label"]) setAttr(fold, name, folds);
    setAttr(fold, "aria-expanded", String(open));
    const nodes = [...new Set(entry.nodes)].filter(Boolean);
    const words = [
      entry.full,
      rank?.title ?? "",
      describeState(entry),
      entry.ended ? entry.endMessage : "",
      `${lineCount(entry.lines)}${entry.lastLineAt > 0 ? `, the last ${this.#ago(entry.lastLineAt)} ago` : ""}`,
      entry.errors > 0 ? `${groupDigits(entry.errors)} error${entry.errors === 1 ? "" : "s"} in the loaded lines` : "",
      restarts > 0 ? `restarted ${times}; the lines of all runs are here` : "",
      nodes.length > 0 ? `on ${nodes.join(", ")}` : "",
      `Click: only this one${entry.on ? "" : "; its lines are hidden now"}`,
    ];
    if (this.#isHovered) setAttr(only, "title", words.filter(Boolean).join("\n"));
    setAttr(only, "aria-label", `${entry.name}, ${rank ? `${rank.note}, ` : ""}${describeState(entry)}, ${lineCount(entry.lines)}: show only this one`);
  }

  #showRole(elements: RowParts, { id, role, name, members, on, lines }: RoleGroup): void {
    const { fold, only } = elements;
    this.#paint(elements, name, on, shortCount(lines), null);
    const open = !this.#folded.has(id);
    setHidden(fold, false);
    setText(fold, open ? "▾" : "▸");
    for (const attribute of ["title", "aria-label"]) setAttr(fold, attribute, open ? `Fold ${role}` : `List the sources of ${role}`);
    setAttr(fold, "aria-expanded", String(open));
    const words = `${role}, ${members.filter((one) => one.on).length} of ${members.length} sources shown, ${lineCount(lines)}`;
    setAttr(only, "title", `${words}\nClick: only these`);
    setAttr(only, "aria-label", `${words}: show only these`);
  }

  #showRun(elements: RowParts, one: RunEntry, entry: SourceEntry): void {
    const name = `${one.name} of ${entry.name}`;
    const ended = one.state === "ended";
    this.#paint(elements, name, one.on, one.lines > 0 || !ended ? shortCount(one.lines) : "", ended ? one.exit : null);
    const words = [
      `${one.name}${one === entry.runs.at(-1) ? ", the newest" : ""}`,
      describeRunState(one),
      ended ? one.endMessage : "",
      one.startedAt > 0 ? `started ${this.#ago(one.startedAt)} ago` : "",
      one.lines > 0 ? lineCount(one.lines) : ended ? "none of its lines is loaded" : "no lines yet",
      "Click: only this run",
    ];
    if (this.#isHovered) setAttr(elements.only, "title", words.filter(Boolean).join("\n"));
    setAttr(elements.only, "aria-label", `${name}, ${describeRunState(one)}, ${lineCount(one.lines)}: show only this run`);
  }

  #paint({ element, toggle, count, end }: RowParts, name: string, on: boolean, lines: string, exit: number | null): void {
    setAttr(toggle, "aria-checked", String(on));
    setClass(element, "cl-off", !on);
    setText(end, exit === null ? "" : exit === 0 ? "✓ " : `exit ${exit} `);
    setClass(end, "cl-le", (exit ?? 0) !== 0);
    setText(count, lines);
    setAttr(toggle, "title", `${on ? "Hide" : "Show"} ${name}`);
  }

  #ago(time: number): string {
    return formatAge(Math.max(0, this.now - time));
  }

  #flip(ids: Set<string>, id: string): void {
    if (!ids.delete(id)) ids.add(id);
    this.#draw();
  }

  #find(id: string): RoleGroup | SourceEntry | undefined {
    return this.#roles.find((role) => role.id === id) ?? this.#entries.find(({ keys }) => keys[0] === id);
  }

  #toggle(id: string): void {
    const entry = this.#find(id);
    if (entry) this.#choose(this.#switches.set(entry.keys, !entry.on));
  }

  #toggleOthers(): void {
    const mains = this.#entries.filter(({ isMain }) => isMain);
    const others = this.#entries.filter(({ isMain }) => !isMain);
    const keysOf = (entries: SourceEntry[]): string[] => entries.flatMap(({ keys }) => keys);
    if (!mains.every((entry) => entry.on)) this.#choose(this.#switches.exactly(keysOf(mains)));
    else this.#choose(this.#switches.set(keysOf(others), !others.some((entry) => entry.on)));
  }

  #only(id: string): void {
    const entry = this.#find(id);
    if (entry) this.#choose(this.#switches.only(entry.keys));
  }

  /** Show only one run. If it has ended, go to its end, which may be before the window. */
  #onlyRun(id: string, key: string): void {
    const run = this.#entries.find(({ keys }) => keys[0] === id)?.runs.find((one) => one.key === key);
    const off = this.#switches.onlyRun(id, key);
    this.#choose(off);
    const end = run?.endedAt || run?.lastLineAt || 0;
    if (off.length > 0 && run?.state === "ended" && end > 0) this.#go(end);
  }
}

export class SourceSwitches {
  readonly #sources: ContainerSummary[];

  constructor(sources: ContainerSummary[]) {
    this.#sources = sources;
  }

  /** Return the keys of containers that are hidden with all their runs, also future ones, and the keys of single hidden runs. */
  get off(): Set<string> {
    return new Set(this.#sources.flatMap(({ on, key, runs }) => (on ? runs.filter((one) => !one.on).map((one) => one.key) : [key])));
  }

  /** Show or hide containers with all their runs. */
  set(keys: string[], on: boolean): string[] {
    const off = this.off;
    for (const { key, runs } of this.#sources.filter((source) => keys.includes(source.key))) {
      for (const one of runs) off.delete(one.key);
      if (on) off.delete(key);
      else off.add(key);
    }
    return [...off];
  }

  toggledRun(source: string, key: string): string[] {
    const { on = false, runs = [] } = this.#sources.find((one) => one.key === source) ?? {};
    const off = this.off;
    if (!on) {
      off.delete(source);
      for (const one of runs) off.add(one.key);
    }
    if (!off.delete(key)) off.add(key);
    return [...off];
  }

  /** Show exactly these containers, with all their runs. */
  exactly(keys: string[]): string[] {
    return this.#sources.filter(({ key }) => !keys.includes(key)).map(({ key }) => key);
  }

  /** Show only these containers. If only these are shown already, show all again. */
  only(keys: string[]): string[] {
    return this.#orAll(this.exactly(keys));
  }

  onlyRun(source: string, key: string): string[] {
    const others = this.#sources.flatMap((one) => (one.key === source ? one.runs.filter((run) => run.key !== key).map((run) => run.key) : [one.key]));
    return this.#orAll(others);
  }

  #orAll(others: string[]): string[] {
    const { off } = this;
    return off.size === others.length && others.every((key) => off.has(key)) ? [] : others;
  }
}

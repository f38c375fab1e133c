/**
 * The list of sources, with an entry for each container. A click shows only that container, its switch hides or shows it; a
 * restarted one opens into its runs. The heading of a role does the same with all containers of that role.
 */

import type { RunSummary, ContainerSummary } from "../protocol/update.ts";
import { formatAge, groupDigits, shortCount } from "../text/format.ts";
import { button, h, setAttr, setClass, setHidden, setText } from "./dom.ts";
import { type RoleGroup, roleGroups, type RunEntry, sourceEntries, type SourceEntry } from "./sourcenames.ts";

interface EntryElements {
  element: HTMLElement;
  toggle: HTMLButtonElement;
  only: HTMLButtonElement;
  /** How it ended, and its number of lines. */
  end: HTMLElement;
  count: HTMLElement;
  fold: HTMLButtonElement;
}

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
  return `${groupDigits(lines)} ${lines === 1 ? "line" : "lines"}`;
}

/** Return an element for a name. If there is no room for all of it, its end stays readable, because the names of pods differ there. */
function nameElement(name: string): HTMLElement {
  const [, begin, end] = name.match(/^(.+ · attempt)( .+)$/) ?? name.match(/^(\S+?)(-[^-\s]{1,6}(?:\s.*)?)$/) ?? [name, name, ""];
  return h("span", { class: "cl-sn" }, h("span", {}, begin), h("span", {}, end));
}

export class SourceList {
  readonly element = h("div", { class: "cl-side", role: "group", "aria-label": "Sources" });
  #head = h("h4", {});
  #all = button("all", "Show the lines of all sources", () => this.#choose([]), { hidden: true });
  #toggleOthersButton = button("", "Show or hide init containers and sidecars", () => this.#toggleOthers(), { class: "btn cl-others" });
  #elements = new Map<string, EntryElements>();
  /** The properties of the entries on which the elements depend. */
  #drawnState = "";
  #entries: SourceEntry[] = [];
  #roles: RoleGroup[] = [];
  #switches = new SourceSwitches([]);
  /** The current time (ms). */
  now = 0;
  /** Whether the pointer is over the list. Only then are titles with ages updated. */
  #isHovered = false;
  /** Keys of the containers whose runs are listed. */
  #open = new Set<string>();
  /** Ids of the roles whose containers are not listed. */
  #folded = new Set<string>();
  /** Key of the row that Tab moves to. The arrow keys move to the others, so that one Tab leaves a long list. */
  #tabStop = "";

  readonly #choose: (off: string[]) => void;
  readonly #go: (time: number) => void;

  constructor(
    choose: (off: string[]) => void,
    go: (time: number) => void,
  ) {
    this.#choose = choose;
    this.#go = go;
    this.element.addEventListener("pointerover", () => {
      this.#isHovered = true;
      this.#draw();
    });
    this.element.addEventListener("pointerleave", () => (this.#isHovered = false));
    this.element.addEventListener("focusin", ({ target }) => this.#setTabStop((target as Element).closest<HTMLElement>(".cl-src")?.dataset.key));
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
  }

  update(sources: ContainerSummary[], now: number): void {
    this.#entries = sourceEntries(sources);
    this.#roles = roleGroups(this.#entries);
    this.#switches = new SourceSwitches(sources);
    this.now = now;
    this.#draw();
  }

  #draw(): void {
    this.#buildIfChanged();
    const on = this.#entries.filter((entry) => entry.on).length;
    setText(this.#head, `${on} of ${this.#entries.length} source${this.#entries.length === 1 ? "" : "s"}`);
    setHidden(this.#all, this.#entries.every((entry) => entry.on && entry.runs.every((one) => one.on)));
    for (const entry of this.#entries) this.#show(entry);
    for (const role of this.#roles) this.#showRole(role);
    const others = this.#entries.filter(({ group }) => group !== "");
    setHidden(this.#toggleOthersButton, others.length === 0);
    setText(this.#toggleOthersButton, others.some((entry) => entry.on) ? "Hide init and sidecars" : "Show init and sidecars");
  }

  #isOpen({ keys, on, runs }: SourceEntry): boolean {
    return this.#open.has(keys[0]) || (on && runs.some((one) => !one.on));
  }

  #buildIfChanged(): void {
    const drawnState = [...this.#folded, ...this.#entries.map((entry) => `${entry.group} ${entry.team} ${entry.name} ${this.#isOpen(entry) ? entry.runs.length : ""}`)].join("|");
    if (drawnState !== this.#drawnState) this.#build();
    this.#drawnState = drawnState;
  }

  #build(): void {
    const { activeElement } = document;
    const focused = activeElement?.closest<HTMLElement>(".cl-src")?.dataset.key;
    const part = PARTS.find((name) => this.#elements.get(focused ?? "")?.[name] === activeElement);
    this.#elements.clear();
    this.element.replaceChildren(h("div", { class: "cl-shead" }, this.#head, this.#all));
    let [group, team] = ["", ""];
    for (const entry of this.#entries) {
      const { keys: [id], name, full } = entry;
      if (entry.group !== group) this.element.append(h("h4", {}, (group = entry.group)));
      if (entry.team !== team) this.#addRole((team = entry.team));
      if (this.#folded.has(team)) continue;
      const fold = (): void => this.#flip(this.#open, id);
      this.#add(id, entry, name, `${name} ${full}`, () => this.#toggle(id), () => this.#only(id), fold);
      if (this.#isOpen(entry)) for (const one of entry.runs) this.#add(one.key, entry, one.name, `${name} ${one.name}`, () => this.#choose(this.#switches.toggledRun(id, one.key)), () => this.#onlyRun(id, one.key), fold).classList.add("cl-run");
    }
    this.element.append(this.#toggleOthersButton);
    this.#setTabStop(this.#elements.has(this.#tabStop) ? this.#tabStop : this.#elements.keys().next().value);
    if (focused && part) this.#elements.get(focused)?.[part].focus();
  }

  #setTabStop(id: string | undefined): void {
    if (id === undefined) return;
    for (const one of [this.#tabStop, id]) for (const part of PARTS) {
      const element = this.#elements.get(one)?.[part];
      if (element) element.tabIndex = one === id ? 0 : -1;
    }
    this.#tabStop = id;
  }

  #onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const rows = [...this.#elements.values()];
    const at = rows.findIndex(({ element }) => element.contains(event.target as Node));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const row = rows.at(Math.max(0, Math.min(to, rows.length - 1)))!;
    const part = PARTS.find((name) => rows[at][name] === event.target) ?? "only";
    row[row[part].hidden ? "only" : part].focus();
  }

  #addRole(id: string): void {
    const role = this.#roles.find((one) => one.id === id);
    if (role) this.#add(id, role.members[0], role.name, role.name, () => this.#toggle(id), () => this.#only(id), () => this.#flip(this.#folded, id)).classList.add("cl-role");
  }

  #add(id: string, entry: SourceEntry, name: string, label: string, toggled: () => void, only: () => void, fold: () => void): HTMLElement {
    const elements: EntryElements = {
      toggle: h("button", { type: "button", role: "switch", class: "cl-swb", tabindex: -1, "aria-label": label, onclick: toggled }, h("span", { class: `cl-sw ${entry.group ? "cl-many" : ""}` }), h("span", { class: "cl-hid" }, label)),
      only: h("button", { type: "button", class: "cl-only", tabindex: -1, onclick: only }, nameElement(name)),
      fold: button("", "", fold, { class: "cl-le cl-runs", tabindex: -1, hidden: true }),
      end: h("span", {}),
      count: h("span", {}),
      element: h("div", { class: "cl-src", style: `--h:${entry.hue}`, "data-key": id }),
    };
    elements.element.append(elements.toggle, elements.only, elements.fold, h("small", { onclick: only }, elements.end, elements.count));
    this.#elements.set(id, elements);
    this.element.append(elements.element);
    return elements.element;
  }

  #show(entry: SourceEntry): void {
    const elements = this.#elements.get(entry.keys[0]);
    if (elements === undefined) return;
    const { fold, only } = elements;
    const exit = stoppedWithPod(entry) ? 0 : entry.exit;
    const bad = entry.ended && (exit ?? 0) !== 0;
    this.#paint(elements, entry.name, entry.on, entry.waiting ? "waiting" : bad ? "" : shortCount(entry.lines), entry.ended ? exit : null);
    const { restarts } = entry;
    const times = `${restarts} ${restarts === 1 ? "time" : "times"}`;
    const open = this.#isOpen(entry);
    setHidden(fold, restarts === 0);
    if (fold.disabled !== (entry.runs.length === 0)) fold.disabled = entry.runs.length === 0;
    setText(fold, restarts > 0 ? `↻${restarts}` : "");
    const folds = entry.runs.length > 0 ? `Restarted ${times}: ${open ? "fold" : "show"} its runs` : `Restarted ${times}`;
    if (restarts > 0) for (const name of ["title", "aria-label"]) setAttr(fold, name, folds);
    setAttr(fold, "aria-expanded", String(open));
    const nodes = [...new Set(entry.nodes)].filter(Boolean);
    const words = [
      entry.full,
      describeState(entry),
      entry.ended ? entry.endMessage : "",
      `${lineCount(entry.lines)}${entry.lastLineAt > 0 ? `, the last ${this.#ago(entry.lastLineAt)} ago` : ""}`,
      restarts > 0 ? `restarted ${times}; the lines of all runs are here` : "",
      nodes.length > 0 ? `on ${nodes.join(", ")}` : "",
      entry.on ? "Click: only this one" : "Click: only this one; its lines are hidden now",
    ];
    if (this.#isHovered) setAttr(only, "title", words.filter(Boolean).join("\n"));
    setAttr(only, "aria-label", `${entry.name}, ${describeState(entry)}, ${lineCount(entry.lines)}: show only this one`);
    if (open) for (const one of entry.runs) this.#showRun(one, entry);
  }

  #showRole({ id, role, name, members, on, lines }: RoleGroup): void {
    const elements = this.#elements.get(id);
    if (elements === undefined) return;
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

  #showRun(one: RunEntry, entry: SourceEntry): void {
    const elements = this.#elements.get(one.key);
    if (elements === undefined) return;
    this.#paint(elements, `${one.name} of ${entry.name}`, one.on, one.lines > 0 || one.state !== "ended" ? shortCount(one.lines) : "", one.state === "ended" ? one.exit : null);
    const words = [
      `${one.name}${one === entry.runs.at(-1) ? ", the newest" : ""}`,
      describeRunState(one),
      one.state === "ended" ? one.endMessage : "",
      one.startedAt > 0 ? `started ${this.#ago(one.startedAt)} ago` : "",
      one.lines > 0 ? lineCount(one.lines) : one.state === "ended" ? "none of its lines is loaded" : "no lines yet",
      "Click: only this run",
    ];
    if (this.#isHovered) setAttr(elements.only, "title", words.filter(Boolean).join("\n"));
    setAttr(elements.only, "aria-label", `${one.name} of ${entry.name}, ${describeRunState(one)}, ${lineCount(one.lines)}: show only this run`);
  }

  #paint({ element, toggle, count, end }: EntryElements, name: string, on: boolean, lines: string, exit: number | null): void {
    setAttr(toggle, "aria-checked", String(on));
    setClass(element, "cl-off", !on);
    setText(end, exit === null ? "" : exit === 0 ? "✓ " : `exit ${exit} `);
    setClass(end, "cl-le", (exit ?? 0) !== 0);
    setText(count, lines);
    setAttr(toggle, "title", on ? `Hide ${name}` : `Show ${name}`);
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
    const others = this.#entries.filter(({ group }) => group !== "");
    this.#choose(this.#switches.set(others.flatMap(({ keys }) => keys), !others.some((entry) => entry.on)));
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

  /** Show only these containers. If only these are shown already, show all again. */
  only(keys: string[]): string[] {
    return this.#orAll(this.#sources.filter(({ key }) => !keys.includes(key)).map(({ key }) => key));
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

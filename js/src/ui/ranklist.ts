/**
 * The ranks of a distributed task: a strip of each one's progress over time, as `log.ranks().plot()` draws it. A viewer has one such
 * list, in its panel or below its chart. While neither shows it, it requests nothing.
 */

import { requestEvents } from "../client/patterns.ts";
import type { Session } from "../client/session.ts";
import type { Problem } from "../protocol/events.ts";
import type { Jump } from "../protocol/requests.ts";
import type { ContainerSummary, Update } from "../protocol/update.ts";
import { formatShortClock } from "../text/format.ts";
import { button, focusedIn, focusOn, h, setHidden, setText, svg } from "./dom.ts";

/** Ranks are read again after this time (ms) at the earliest, and after ten times as long as reading them took. */
const AGAIN_MS = 5000;
const AGAIN_TIMES = 10;
const WIDTH = 600;
const HEIGHT = 12;
/** Shades of a colour. */
const LEVELS = 4;
/** Notes of ranks that stand out, with the tone of each. The gravest comes first. */
const TONES: Record<string, string> = { "failed first": "err", behind: "err", silent: "err", stuck: "err", slow: "warn" };
const NOTES = Object.keys(TONES);

/** One rank; times are parts of the whole time, from 0 to 1. */
export interface RankStrip {
  name: string;
  note: string;
  label: string;
  start: number;
  end: number;
  /** For each interval: its steps relative to the median rank's steps; null where no rank made one. */
  pace: (number | null)[];
  /** For each interval: how far it is behind the median rank, 0 to 1. */
  lag: number[];
  last_step: number | null;
  error: number | null;
  ended: string;
  pod: string;
  container: string;
  /** Number of its first error, or of its last line. */
  seq: number;
}

/** The mark of a container with a rank that stands out. */
export interface RankBadge {
  note: string;
  tone: string;
  /** Its figures. */
  title: string;
}

interface Ranks {
  ranks: RankStrip[];
  left_out: number;
  /** Time of the strips (ns). */
  from: number;
  to: number;
  hang: string;
}

export class RankList {
  #hang = h("p", { class: "cl-hang", role: "status", hidden: true });
  #message = h("p", { class: "cl-dim" }, "Comparing the ranks…");
  #rows = h("div", { class: "cl-ranks", role: "list", "aria-label": "Ranks" });
  #times = [h("span", {}), h("span", {})];
  #span = h("div", { class: "cl-rank cl-dim", hidden: true }, h("span", {}), h("div", { class: "cl-rank-span" }, ...this.#times), h("span", {}));
  readonly element = h("div", { class: "cl-plist cl-rlist", hidden: true }, this.#hang, this.#message, h("div", { class: "cl-rgrid" }, this.#rows, this.#span));
  /** Whether it is below the chart, where it takes no room unless there are ranks to compare, and the ones that stand out come first. */
  #isSmall = false;
  #found: (Ranks & { task: string })[] | undefined;
  #update: Update | undefined;
  #stop: (() => void) | undefined;
  #readOf = "";
  #nextAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly #session: Session;
  readonly #jump: (to: Jump) => void;
  readonly #drawn: (badges: Map<string, RankBadge>) => void;

  /** `drawn` gets the badges of containers by their keys, each time that the list was drawn. */
  constructor(session: Session, jump: (to: Jump) => void, drawn: (badges: Map<string, RankBadge>) => void) {
    this.#session = session;
    this.#jump = jump;
    this.#drawn = drawn;
  }

  /** Show the list in a panel, or remove it if it is there. */
  showIn(panel: HTMLElement, isShown: boolean, isSmall = false): void {
    const isHere = this.element.parentElement === panel;
    if (isShown && !isHere) {
      panel.append(this.element);
      this.#isSmall = isSmall;
      setHidden(this.element, isSmall);
      if (this.#found !== undefined) this.#draw();
      this.#readIfDue();
    } else if (!isShown && isHere) {
      this.element.remove();
      this.close();
      // While the list is closed, the notes of a running task's ranks are not updated, so remove them.
      if (!this.#isOver) this.#drawn(new Map());
    }
  }

  update(update: Update): void {
    this.#update = update;
    if (this.element.parentElement !== null) this.#readIfDue();
  }

  get #isOver(): boolean {
    return this.#update?.tasks.every(({ ended }) => ended) ?? false;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#stop?.();
    if (this.#stop !== undefined) this.#readOf = "";
    this.#stop = undefined;
  }

  #readIfDue(): void {
    if (this.#update === undefined || this.#stop !== undefined || this.#update.link === "connecting") return;
    // A hang is known by the time that passes, so a running task is read again although no line comes.
    const { newest, tasks, now } = this.#update;
    const readOf = JSON.stringify([newest, tasks.map(({ task, ended }) => [task, ended || Math.floor(now / (4 * AGAIN_MS))])]);
    if (readOf === this.#readOf) return;
    clearTimeout(this.#timer);
    // The ranks of a task that has ended are compared once more, and at once.
    const inMs = this.#isOver ? 0 : this.#nextAt - Date.now();
    if (inMs > 0) {
      this.#timer = setTimeout(() => this.#readIfDue(), inMs);
      return;
    }
    this.#readOf = readOf;
    this.#read();
  }

  #read(): void {
    const startedAt = Date.now();
    const found: (Ranks & { task: string })[] = [];
    const waiting = this.#session.tasks.slice();
    const isComm = this.#update!.transport === "comm";
    const end = (problem?: Problem): void => {
      this.#stop = undefined;
      this.#nextAt = Date.now() + Math.max(AGAIN_MS, AGAIN_TIMES * (Date.now() - startedAt));
      if (problem === undefined) {
        this.#found = found;
        this.#draw();
      } else this.#fail(problem);
      this.#readIfDue(); // no update follows if the task has ended meanwhile
    };
    const next = (): void => {
      const task = waiting.shift();
      if (task === undefined) return end();
      let isDone = false;
      this.#stop = requestEvents(this.#session, "ranks", task, isComm, {
        event: ({ event, data }) => {
          const doc = JSON.parse(data) as Ranks & Problem;
          if (event === "ranks") found.push({ ...doc, task });
          else if (event === "done") {
            isDone = true;
            next();
          } else if (event === "error") {
            isDone = true;
            end(doc);
          }
        },
        end: (problem) => {
          if (!isDone) end(problem ?? { code: "CutOff", message: "The answer was cut off" });
        },
      });
    };
    next();
  }

  #fail({ message, hint = "" }: Problem): void {
    const retry = (): void => {
      this.#readOf = "";
      this.#nextAt = 0;
      this.#readIfDue();
    };
    setHidden(this.element, false);
    setHidden(this.#message, false);
    this.#message.replaceChildren(`The ranks could not be compared: ${message}. ${hint} `, button("Try again", "Try again", retry, { class: "btn cl-outline" }));
  }

  #draw(): void {
    const found = this.#found!;
    const rowOf = new Map(found.flatMap((one) => one.ranks.map((rank) => [rank, (): Node => this.#row(rank, one)])));
    const ranks = [...rowOf.keys()];
    const hangs = found.map(({ hang }) => hang).filter(Boolean);
    const leftOut = found.reduce((sum, one) => sum + one.left_out, 0);
    setText(this.#hang, hangs.length > 0 ? `${hangs.join("; ").replace(/^n/, "N")}` : "");
    setHidden(this.#hang, hangs.length === 0);
    const isEmpty = ranks.length === 0;
    setText(this.#message, isEmpty ? "No lines yet." : leftOut > 0 ? `${leftOut} more ranks` : "");
    setHidden(this.#message, !isEmpty && leftOut === 0);
    setHidden(this.#span, isEmpty || found.length > 1);
    if (!isEmpty) for (const [i, at] of [found[0].from, found[0].to].entries()) setText(this.#times[i], formatShortClock(at / 1e6, true));
    const listed = this.#isSmall ? [...ranks.filter(standsOut), ...ranks.filter((one) => !standsOut(one))] : ranks;
    const focused = focusedIn(this.#rows)?.parentElement?.title;
    this.#rows.replaceChildren(...listed.map((rank) => rowOf.get(rank)!()));
    if (focused !== undefined) focusOn([...this.#rows.children].find((row) => (row as HTMLElement).title === focused)?.querySelector("button") ?? null);
    setHidden(this.element, this.#isSmall && ranks.length < 2);
    this.#drawn(badgesOf(found));
  }

  /** Return the row of a rank. If the rank has an error, a click leads to its line. */
  #row(rank: RankStrip, { task, from, to }: Ranks & { task: string }): HTMLElement {
    const { name, note, label, error, seq } = rank;
    const title = `${name}: ${label}`;
    const row = (more: object, words: HTMLElement): HTMLElement => h("div", { class: "cl-rank", role: "listitem", "data-tone": TONES[note] ?? "", ...more }, h("b", {}, name), strip(rank), words);
    if (error === null) return row({ title }, h("span", { class: "cl-rank-l" }, label));
    const jump = (): void => this.#jump({ to: "seq", task, seq, time: (from + error * (to - from)) / 1e6 });
    return row({ title: `${title}\nGo to its first error`, style: "cursor: pointer", onclick: jump }, h("button", { class: "cl-rank-l" }, label));
  }
}

/** Return whether a chart of these containers has the strips of its ranks below it: whether any task has several ranks. */
export function hasRanks(sources: ContainerSummary[]): boolean {
  const ranks = new Map<string, string>();
  return sources.some(({ task, role, rank, index }) => {
    if (rank === "" && index === null) return false;
    const name = `${role} ${rank || index}`;
    if (!ranks.has(task)) ranks.set(task, name);
    return ranks.get(task) !== name;
  });
}

function standsOut({ note }: RankStrip): boolean {
  return note in TONES;
}

/** Return the badges of containers by their keys. A container may have several ranks: it has the gravest note, and the figures of all that stand out. */
function badgesOf(found: (Ranks & { task: string })[]): Map<string, RankBadge> {
  const badges = new Map<string, RankBadge>();
  for (const { task, ranks } of found) {
    for (const { name, note, label, pod, container } of ranks.filter(standsOut)) {
      const key = `${task}/${pod}/${container}`;
      const other = badges.get(key);
      const gravest = other !== undefined && NOTES.indexOf(other.note) < NOTES.indexOf(note) ? other.note : note;
      badges.set(key, { note: gravest, tone: TONES[gravest], title: [...(other === undefined ? [] : [other.title]), `${name}: ${label}`].join("\n") });
    }
  }
  return badges;
}

/** Return the strip of a rank: the steps that it made, where it was behind, and where it fell silent. */
function strip({ start, end, pace, lag, note, last_step: lastStep, error, ended }: RankStrip): Node {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const box = (from: number, to: number): string => `M${(from * WIDTH).toFixed(1)} 0H${(Math.max(to, from + 0.002) * WIDTH).toFixed(1)}V${HEIGHT}H${(from * WIDTH).toFixed(1)}z`;
  const add = (kind: string, d: string, level = 1): void => {
    const path = svg("path", { class: `cl-rank-${kind}`, d });
    if (level < 1) path.setAttribute("fill-opacity", String(level));
    picture.append(path);
  };
  add("track", box(start, end));
  const shades = new Map<string, string>();
  for (const [i, share] of pace.entries()) {
    if (share === null || !(share > 0)) continue;
    const level = lag[i] > 0 ? lag[i] : share;
    const shade = `${lag[i] > 0 ? "late" : "step"} ${Math.max(1, Math.min(LEVELS, Math.round(level * LEVELS)))}`;
    shades.set(shade, (shades.get(shade) ?? "") + box(Math.max(start, i / pace.length), Math.min(end, (i + 1) / pace.length)));
  }
  for (const [shade, d] of shades) {
    const [kind, level] = shade.split(" ");
    add(kind, d, 0.25 + (0.6 * Number(level)) / LEVELS);
  }
  if (lastStep !== null && ["silent", "stuck", "behind"].includes(note)) add("still", box(lastStep, end));
  if (error !== null) add("error", box(error - 0.002, error + 0.002));
  if (ended === "failed") add("error", box(end - 0.004, end));
  return picture as unknown as Node;
}

/** What a reader takes along: picked rows as text, JSON or code, a row without its filter, bookmarks with notes; and places gone to. */

import type { Jump } from "../types/asked.ts";
import type { Row } from "../types/rows.ts";
import type { Item } from "./menu.ts";
import { type CopyAs, PickBar, toClipboard } from "./pickbar.ts";
import { Prompt } from "./prompt.ts";
import type { Rows } from "./rows.ts";
import type { Bookmark, Session } from "./session.ts";
import { readTime } from "./when.ts";

const UNFILTERED = { grep: "", regex: false, include: [], exclude: [], where: [], level: "", stream: "", off: [], pod: "", container: "", run: "" };

export interface TakingActions {
  /** The task of a source. */
  task(source: number): string;
  copy(from: number, to: number, as: CopyAs): Promise<string>;
  jump(to: Jump): void;
  now(): number;
  complain(message: string): void;
}

export class Taking {
  readonly prompt: Prompt;
  readonly bar: PickBar;
  #noted = new Map<string, string>();
  #notedOf: unknown;

  constructor(
    private readonly rows: Rows,
    private readonly session: Session,
    private readonly actions: TakingActions,
  ) {
    this.prompt = new Prompt(() => rows.element.focus({ preventScroll: true }));
    this.bar = new PickBar({ copy: (as) => this.copy(as), context: () => this.context(), mark: () => this.mark(), drop: () => this.escape() });
    rows.element.addEventListener("click", (event) => {
      const target = event.target as Element;
      if (!target.closest(".cl-t, .cl-s, [data-seq] > i")) return;
      rows.picking.pick(target, event.shiftKey);
      this.update();
    });
    rows.element.addEventListener("mousedown", (event) => {
      // Picking rows is not selecting text.
      if (event.shiftKey && (event.target as Element).closest(".cl-t, .cl-s")) event.preventDefault();
    });
  }

  update(): void {
    this.bar.update(this.rows.picked.deliberate ? this.rows.picked.count : 0);
  }

  move(by: 1 | -1): void {
    this.rows.picking.move(by, true);
    this.update();
  }

  /** Lets go of what is open or picked; whether there was something. */
  escape(): boolean {
    if (this.prompt.close()) return true;
    if (this.rows.picked.count === 0) return false;
    this.rows.picked.clear();
    this.rows.draw();
    this.update();
    return true;
  }

  copy(as: CopyAs): void {
    const ends = this.rows.picked.ends ?? (this.rows.at ? [this.rows.at.id, this.rows.at.id] : null);
    if (ends === null) return;
    this.rows.picked.deliberate = this.rows.picked.count > 0;
    this.update();
    void this.actions.copy(ends[0], ends[1], as).then((text) => this.#take(text, as === "code" ? text : "copied"));
  }

  code(from: number, to: number): void {
    void this.#take(`log[${from}:${to}]`, "copied");
  }

  async #take(text: string, said: string): Promise<void> {
    try {
      await toClipboard(text);
      this.bar.say(said === "copied" ? "Copied" : `Copied ${said}`);
    } catch (reason) {
      this.actions.complain(`Could not copy: ${reason instanceof Error ? reason.message : String(reason)}`);
    }
  }

  /** The row that is being read, among all lines. */
  context(): void {
    const { at } = this.rows;
    if (at === undefined) return;
    this.session.change(UNFILTERED);
    this.actions.jump({ to: "row", id: at.id });
  }

  goTo(): void {
    this.prompt.ask("Go to", "14:03, 14:03:21, -5m or 2026-01-31 14:03", "", (text) => {
      const time = readTime(text, this.actions.now(), this.session.settings.time === "utc");
      if (time === null) return "write a time such as 14:03, 14:03:21, -5m or 2026-01-31 14:03";
      this.actions.jump({ to: "time", time });
      return "";
    });
  }

  // Bookmarks

  mark(): void {
    const { at } = this.rows;
    if (at === undefined) return;
    const task = this.actions.task(at.source);
    const others = this.session.bookmarks.filter((one) => one.task !== task || one.seq !== at.seq);
    const known = this.session.bookmarks.length > others.length;
    this.prompt.ask(`Note on line ${at.seq}`, known ? "empty takes the bookmark away" : "a note, or nothing", this.noteOf(at) ?? "", (note) => {
      const away = known && note.trim() === "";
      this.session.keep("bookmarks", away ? others : [...others, { task, seq: at.seq, note: note.trim() }]);
      this.rows.restyle();
      return "";
    });
  }

  noteOf(row: Row): string | undefined {
    const { bookmarks } = this.session;
    if (bookmarks.length === 0) return undefined;
    if (this.#notedOf !== bookmarks) {
      this.#notedOf = bookmarks;
      this.#noted = new Map(bookmarks.map((one) => [keyOf(one), one.note]));
    }
    return this.#noted.get(keyOf({ task: this.actions.task(row.source), seq: row.seq }));
  }

  /** For the menu of places. */
  items(): Item[] {
    return this.session.bookmarks.map(({ task, seq, note }) => ({ label: `★ ${note || `line ${seq}`}`, act: () => this.actions.jump({ to: "seq", task, seq }) }));
  }
}

function keyOf({ task, seq }: Pick<Bookmark, "task" | "seq">): string {
  return `${seq} ${task}`;
}

/** What a reader takes along: picked rows as text, JSON or code, a row without its filter, bookmarks with notes; and places gone to. */

import type { Jump } from "../types/asked.ts";
import type { Row } from "../types/rows.ts";
import type { MenuItem } from "./menu.ts";
import { type CopyAs, PickBar, copyToClipboard } from "./pickbar.ts";
import { Prompt } from "./prompt.ts";
import type { Rows } from "./rows.ts";
import type { Bookmark, Session } from "./session.ts";
import { parseTypedTime } from "./when.ts";

const UNFILTERED = { grep: "", regex: false, include: [], exclude: [], where: [], level: "", stream: "", off: [], pod: "", container: "", run: "" };

export interface LineActionHost {
  /** The task of a source. */
  task(source: number): string;
  copy(from: number, to: number, as: CopyAs): Promise<string>;
  jump(to: Jump): void;
  now(): number;
  showError(message: string): void;
}

export class LineActions {
  readonly prompt: Prompt;
  readonly pickBar: PickBar;
  #notes = new Map<string, string>();
  #notesOf: unknown;

  constructor(
    private readonly rows: Rows,
    private readonly session: Session,
    private readonly actions: LineActionHost,
  ) {
    this.prompt = new Prompt(() => rows.element.focus({ preventScroll: true }));
    this.pickBar = new PickBar({ copy: (as) => this.copy(as), context: () => this.context(), mark: () => this.bookmark(), drop: () => this.escape() });
    rows.element.addEventListener("click", (event) => {
      const target = event.target as Element;
      if (!target.closest(".cl-t, .cl-s, [data-seq] > i")) return;
      rows.picker.pick(target, event.shiftKey);
      this.update();
    });
    rows.element.addEventListener("mousedown", (event) => {
      // Picking rows is not selecting text.
      if (event.shiftKey && (event.target as Element).closest(".cl-t, .cl-s")) event.preventDefault();
    });
  }

  update(): void {
    this.pickBar.update(this.rows.selection.isDeliberate ? this.rows.selection.count : 0);
  }

  extend(by: 1 | -1): void {
    this.rows.picker.move(by, true);
    this.update();
  }

  /** Lets go of what is open or picked; whether there was something. */
  escape(): boolean {
    if (this.prompt.close()) return true;
    if (this.rows.selection.count === 0) return false;
    this.rows.selection.clear();
    this.rows.draw();
    this.update();
    return true;
  }

  copy(as: CopyAs): void {
    const ends = this.rows.selection.ends ?? (this.rows.current ? [this.rows.current.id, this.rows.current.id] : null);
    if (ends === null) return;
    this.rows.selection.isDeliberate = this.rows.selection.count > 0;
    this.update();
    void this.actions.copy(ends[0], ends[1], as).then((text) => this.#copyText(text, as === "code" ? text : "copied"));
  }

  copyCode(from: number, to: number): void {
    void this.#copyText(`log[${from}:${to}]`, "copied");
  }

  async #copyText(text: string, said: string): Promise<void> {
    try {
      await copyToClipboard(text);
      this.pickBar.showMessage(said === "copied" ? "Copied" : `Copied ${said}`);
    } catch (reason) {
      this.actions.showError(`Could not copy: ${reason instanceof Error ? reason.message : String(reason)}`);
    }
  }

  /** The row that is being read, among all lines. */
  context(): void {
    const { current } = this.rows;
    if (current === undefined) return;
    this.session.change(UNFILTERED);
    this.actions.jump({ to: "row", id: current.id });
  }

  goTo(): void {
    this.prompt.ask("Go to", "14:03, 14:03:21, -5m or 2026-01-31 14:03", "", (text) => {
      const time = parseTypedTime(text, this.actions.now(), this.session.settings.time === "utc");
      if (time === null) return "write a time such as 14:03, 14:03:21, -5m or 2026-01-31 14:03";
      this.actions.jump({ to: "time", time });
      return "";
    });
  }

  // Bookmarks

  bookmark(): void {
    const { current } = this.rows;
    if (current === undefined) return;
    const task = this.actions.task(current.source);
    const others = this.session.bookmarks.filter((one) => one.task !== task || one.seq !== current.seq);
    const known = this.session.bookmarks.length > others.length;
    this.prompt.ask(`Note on line ${current.seq}`, known ? "empty takes the bookmark away" : "a note, or nothing", this.noteOf(current) ?? "", (note) => {
      const away = known && note.trim() === "";
      this.session.setTrait("bookmarks", away ? others : [...others, { task, seq: current.seq, note: note.trim() }]);
      this.rows.restyle();
      return "";
    });
  }

  noteOf(row: Row): string | undefined {
    const { bookmarks } = this.session;
    if (bookmarks.length === 0) return undefined;
    if (this.#notesOf !== bookmarks) {
      this.#notesOf = bookmarks;
      this.#notes = new Map(bookmarks.map((one) => [bookmarkKey(one), one.note]));
    }
    return this.#notes.get(bookmarkKey({ task: this.actions.task(row.source), seq: row.seq }));
  }

  /** For the menu of places. */
  bookmarkItems(): MenuItem[] {
    return this.session.bookmarks.map(({ task, seq, note }) => ({ label: `★ ${note || `line ${seq}`}`, act: () => this.actions.jump({ to: "seq", task, seq }) }));
  }
}

function bookmarkKey({ task, seq }: Pick<Bookmark, "task" | "seq">): string {
  return `${seq} ${task}`;
}

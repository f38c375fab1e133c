/** Actions on lines: pick, copy, bookmark, show in context, and go to a time. Also the toolbar and the prompt for them. */

import type { Jump } from "../protocol/requests.ts";
import type { Row } from "../protocol/update.ts";
import { errorMessage, formatSpan, groupDigits } from "../text/format.ts";
import { ALL_SOURCES } from "../text/sources.ts";
import { formatWindow, fromIso, parseTypedRange, parseTypedTime, toIso } from "../text/time.ts";
import type { Bookmark, Session } from "../client/session.ts";
import { button, copyToClipboard, focusOn, h, listen, setHidden, setText } from "./dom.ts";
import { Menu, type MenuItem } from "./menu.ts";
import type { Rows } from "./rows.ts";

/** A text box above the rows. It is not modal, because a user reads the lines while writing a note on one. */
class Prompt {
  #question = h("span", {});
  #input = h("input", { type: "text", class: "cl-input", dir: "auto", spellcheck: "false", autocomplete: "off", autofocus: true });
  #error = h("span", { class: "cl-le", role: "alert" });
  readonly element = h("dialog", { class: "cl-prompt" }, h("form", { method: "dialog" }, h("label", {}, this.#question, this.#input), this.#error));
  #answer: (text: string) => string = () => "";
  /** The text that was in the box at first. */
  #offered = "";

  readonly #onClose: () => void;

  constructor(onClose: () => void) {
    this.#onClose = onClose;
    listen(this.element, "submit", (event) => {
      event.preventDefault();
      const error = this.#answer(this.#input.value);
      setText(this.#error, error);
      if (error === "") this.close();
    });
    // What the user has typed stays: it is kept with Enter and dropped with Escape.
    listen(this.#input, "blur", () => this.#input.value === this.#offered && this.element.close());
  }

  /** Ask a question. `answer` handles what the user typed, and returns what is wrong with it; "" if it is accepted. */
  ask(question: string, placeholder: string, value: string, answer: (text: string) => string): void {
    setText(this.#question, question);
    this.element.setAttribute("aria-label", question);
    this.#input.placeholder = placeholder;
    this.#input.value = this.#offered = value;
    setText(this.#error, "");
    this.#answer = answer;
    if (!this.element.open) this.element.show();
    focusOn(this.#input);
    this.#input.select();
  }

  close(): boolean {
    if (!this.element.open) return false;
    this.element.close();
    this.#onClose();
    return true;
  }
}

export type CopyAs = "text" | "json" | "code" | "markdown";

export interface PickActions {
  copy(as: CopyAs): void;
  /** Copy the line's address. Undefined if it has none. */
  copyLink(): (() => void) | undefined;
  context(): void;
  mark(): void;
  drop(): void;
}

class PickBar {
  #count = h("span", { "aria-live": "polite" });
  /** The text of the line that the pick moved to, for screen readers. */
  #line = h("span", { class: "cl-hid", "aria-live": "polite" });
  #message = h("span", { class: "cl-state", "data-tone": "good", "aria-live": "polite" });
  readonly element: HTMLElement;

  constructor(actions: PickActions) {
    const copy = new Menu("Copy ▾", "Copy the picked lines", () => {
      const link = actions.copyLink();
      return [
        { label: "As text (y)", act: () => actions.copy("text") },
        { label: "As Markdown (M)", act: () => actions.copy("markdown") },
        { label: "As JSON", act: () => actions.copy("json") },
        { label: "As code (Y)", act: () => actions.copy("code") },
        ...(link === undefined ? [] : [{ label: "Link to the line (L)", act: link }]),
      ];
    });
    this.element = h(
      "div",
      { class: "cl-status cl-pickbar", role: "toolbar", "aria-label": "Picked lines", hidden: true },
      this.#count,
      copy.element,
      button("In context", "Show the line in context: without the filter (c)", actions.context),
      button("Bookmark", "Bookmark the line, with a note (m)", actions.mark),
      this.#message,
      this.#line,
      h("span", { class: "cl-grow" }),
      button("×", "Pick nothing (Esc)", actions.drop, { class: "btn" }),
    );
  }

  /** Show how many lines are picked, and the time between the first and the last (ms). */
  update(count: number, span: number | null): void {
    setHidden(this.element, count === 0);
    const words = count === 1 ? "1 line picked" : `${groupDigits(count)} lines picked`;
    setText(this.#count, span === null ? words : `${words}, Δt ${formatSpan(span)}`);
    setText(this.#message, "");
  }

  announce(line: string): void {
    setText(this.#line, line);
  }

  showMessage(words: string): void {
    setText(this.#message, words);
  }
}

const UNFILTERED = { grep: "", regex: false, include: [], exclude: [], where: [], level: "", stream: "", off: [], ...ALL_SOURCES };

export interface LineActionHost {
  /** Return the task of a container. */
  task(source: number): string;
  copy(from: number, to: number, as: CopyAs): Promise<string>;
  /** Return the address of a line in the viewer's own page; "" if it has none. */
  addressOf(row: Row): string;
  jump(to: Jump): void;
  now(): number;
  showError(message: string): void;
}

export class LineActions {
  readonly prompt: Prompt;
  readonly pickBar: PickBar;
  #notes = new Map<string, string>();
  #notesOf: unknown;

  readonly #rows: Rows;
  readonly #session: Session;
  readonly #actions: LineActionHost;

  constructor(
    rows: Rows,
    session: Session,
    actions: LineActionHost,
  ) {
    this.#rows = rows;
    this.#session = session;
    this.#actions = actions;
    this.prompt = new Prompt(() => focusOn(rows.element));
    const hasAddress = (): boolean => rows.current !== undefined && actions.addressOf(rows.current) !== "";
    this.pickBar = new PickBar({ copy: (as) => this.copy(as), copyLink: () => (hasAddress() ? () => this.copyLink() : undefined), context: () => this.context(), mark: () => this.bookmark(), drop: () => this.escape() });
    listen(rows.element, "click", (event) => {
      const target = event.target as Element;
      if (!target.closest(".cl-t, .cl-s, [data-seq] > i")) return;
      rows.picker.pick(target, event.shiftKey);
      this.update();
    });
    listen(rows.element, "mousedown", (event) => {
      // Shift and click extends the picked rows. The browser must not select text too.
      if (event.shiftKey && (event.target as Element).closest(".cl-t, .cl-s")) event.preventDefault();
    });
  }

  update(): void {
    const { count, isDeliberate, span } = this.#rows.selection;
    this.pickBar.update(isDeliberate ? count : 0, span);
  }

  /** Whether a line is picked, by the user or by a jump. */
  get hasPick(): boolean {
    return this.#rows.selection.count > 0;
  }

  /** Move the pick by one row, or with `extend` only the end of the picked range. */
  move(by: 1 | -1, extend: boolean): void {
    const row = this.#rows.picker.move(by, extend);
    this.update();
    if (row !== undefined) this.pickBar.announce(row.text);
  }

  /** Close the prompt or clear the picked rows. Return whether there was something to close. */
  escape(): boolean {
    if (this.prompt.close()) return true;
    if (this.#rows.selection.count === 0) return false;
    this.#rows.selection.clear();
    this.#rows.draw();
    this.update();
    return true;
  }

  copy(as: CopyAs): void {
    const ends = this.#rows.selection.ends ?? (this.#rows.current ? [this.#rows.current.id, this.#rows.current.id] : null);
    if (ends === null) return;
    this.#rows.selection.isDeliberate = this.#rows.selection.count > 0;
    this.update();
    void this.#copyText(this.#actions.copy(ends[0], ends[1], as), as === "code" ? "" : "Copied");
  }

  copyLink(): void {
    const { current } = this.#rows;
    if (current === undefined) return;
    const address = this.#actions.addressOf(current);
    if (address === "") this.#actions.showError("This line has no address, because no Jupyter server here reads its log; copy it as code (Y)");
    else void this.#copyText(address, "Link copied");
  }

  copyCode(from: number, to: number): void {
    void this.#copyText(`log.seq[${from}:${to}]`, "Copied");
  }

  /** Copy a text, and show a message, or the text if there is none. */
  async #copyText(copied: string | Promise<string>, message = ""): Promise<void> {
    try {
      const text = await copied;
      await copyToClipboard(text);
      this.pickBar.showMessage(message || `Copied ${text}`);
    } catch (reason) {
      this.#actions.showError(`Could not copy: ${errorMessage(reason)}`);
    }
  }

  /** Remove the filter, and show the current row among all lines. */
  context(): void {
    const { current } = this.#rows;
    if (current === undefined) return;
    this.#session.change(UNFILTERED);
    this.#actions.jump({ to: "row", id: current.id });
  }

  goTo(): void {
    this.prompt.ask("Go to", "14:03, 14:03:21, -5m or 2026-01-31 14:03", "", (text) => {
      const time = parseTypedTime(text, this.#actions.now(), this.#session.settings.time === "utc");
      if (time === null) return "write a time such as 14:03, 14:03:21, -5m or 2026-01-31 14:03";
      this.#actions.jump({ to: "time", time });
      return "";
    });
  }

  chooseWindow(): void {
    const { filter, time } = this.#session.settings;
    this.prompt.ask("Show", "2h, 10:00 to 10:20, yesterday", filter.from === null ? formatWindow(filter.since) : "", (text) => {
      const range = parseTypedRange(text, this.#actions.now(), time === "utc");
      if (range === null) return "write a window such as 2h, 10:00 to 10:20, yesterday, 2026-01-31 or all";
      this.#session.change(range);
      return "";
    });
  }

  // Bookmarks

  bookmark(): void {
    const { current } = this.#rows;
    if (current === undefined) return;
    const task = this.#actions.task(current.source);
    const rest = this.#session.bookmarks.filter((one) => one.task !== task || one.seq !== current.seq);
    const exists = this.#session.bookmarks.length > rest.length;
    this.prompt.ask(`Note on line ${current.seq}`, exists ? "empty takes the bookmark away" : "a note, or nothing", this.noteOf(current) ?? "", (note) => {
      const isRemoved = exists && note.trim() === "";
      this.#session.setTrait("bookmarks", isRemoved ? rest : [...rest, { task, seq: current.seq, time: toIso(current.time), note: note.trim() }]);
      this.#rows.restyle();
      return "";
    });
  }

  noteOf(row: Row): string | undefined {
    const { bookmarks } = this.#session;
    if (bookmarks.length === 0) return undefined;
    if (this.#notesOf !== bookmarks) {
      this.#notesOf = bookmarks;
      this.#notes = new Map(bookmarks.map((one) => [bookmarkKey(one), one.note]));
    }
    return this.#notes.get(bookmarkKey({ task: this.#actions.task(row.source), seq: row.seq }));
  }

  /** Return the menu entries of the bookmarks. */
  bookmarkItems(): MenuItem[] {
    return this.#sortedBookmarks().map((one) => ({ label: `★ ${one.note || `line ${one.seq}`}`, act: () => this.#goToBookmark(one) }));
  }

  #sortedBookmarks(): Bookmark[] {
    return this.#session.bookmarks.toSorted(compareBookmarks);
  }

  #goToBookmark({ task, seq, time }: Bookmark): void {
    this.#actions.jump({ to: "seq", task, seq, ...(time !== undefined && { time: fromIso(time) }) });
  }

  /** Go to the next bookmark on the screen. After the last one comes the first. */
  stepBookmark(by: 1 | -1): void {
    const { current, newestFirst } = this.#rows;
    const marks = this.#sortedBookmarks();
    if (current === undefined || marks.length === 0) return;
    const here = { task: this.#actions.task(current.source), seq: current.seq, time: toIso(current.time), note: "" };
    const later = newestFirst ? -by : by;
    const ahead = marks.filter((mark) => compareBookmarks(mark, here) * later > 0);
    this.#goToBookmark((ahead.length > 0 ? ahead : marks).at(later > 0 ? 0 : -1)!);
  }
}

/** Compare by time. One that Python or an older version set has none; then the order of recording counts. */
function compareBookmarks(a: Bookmark, b: Bookmark): number {
  if (a.time !== undefined && b.time !== undefined && a.time !== b.time) return a.time < b.time ? -1 : 1;
  return a.task === b.task ? a.seq - b.seq : a.task < b.task ? -1 : 1;
}

function bookmarkKey({ task, seq }: Pick<Bookmark, "task" | "seq">): string {
  return `${seq} ${task}`;
}

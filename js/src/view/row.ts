/** One row's element: edge, time, source, message; or a notice, a gap, the log's beginning. Opens on a click. */

import type { Row } from "../types.ts";
import { h } from "./dom.ts";
import { clock, grouped } from "./format.ts";
import { tree } from "./json.ts";
import { fill, noticeWords } from "./line.ts";

export interface Label {
  short: string;
  full: string;
  hue: number;
}

export interface RowActions {
  label(source: number): Label | undefined;
  older(): void;
  /** Loads what was left out. */
  hole(id: number): void;
  /** The whole text of a line that was cut. */
  text(id: number): Promise<string>;
  resized(): void;
}

const LEVEL_CLASS = ["", "", "", "", "cl-warn", "cl-err", "cl-err"];

export function makeRow(row: Row, actions: RowActions, open: Map<number, string>): HTMLElement {
  if (row.kind === "edge") {
    if (row.text === "") return h("div", { class: "cl-r" });
    const ask = row.text === "Older lines" ? h("button", { type: "button", class: "cl-more", onclick: () => actions.older() }, "↑ Load older lines") : row.text;
    return h("div", { class: "cl-r cl-note cl-edge", "data-notice": "edge" }, ask);
  }
  if (row.kind !== "line") return noticeRow(row, actions, open);
  const label = actions.label(row.source);
  const message = h("span", { class: "cl-m" });
  const element = h(
    "div",
    { class: `cl-r ${LEVEL_CLASS[row.level]}`, "data-seq": row.seq },
    h("i", {}),
    h("span", { class: "cl-t", title: new Date(row.time).toISOString() }, clock(row.time)),
    h("span", { class: "cl-s", title: label?.full ?? "", style: `--h:${label?.hue ?? 0}` }, label?.short ?? ""),
    message,
  );
  if (row.json) message.append(h("span", { class: "cl-tw" }, open.has(row.id) ? "▾ " : "▸ "));
  const whole = open.get(row.id);
  if (whole === undefined || row.json) fill(message, row.text, row.runs, row.marks);
  else message.append(row.more > 0 ? whole : "");
  if (whole !== undefined && row.json) message.append(opened(whole));
  else if (whole !== undefined && row.more === 0) fill(message, row.text, row.runs, row.marks);
  if (row.more > 0 && whole === undefined) message.append(h("span", { class: "cl-k" }, ` … ${grouped(row.more)} more`));
  if (whole !== undefined) element.classList.add("cl-open");
  message.addEventListener("click", (event) => toggle(event, row, message, actions, open));
  return element;
}

function opened(text: string): HTMLElement {
  try {
    return tree(JSON.parse(text) as unknown);
  } catch {
    return h("div", { class: "cl-leaf" }, text);
  }
}

function toggle(event: Event, row: Row, message: HTMLElement, actions: RowActions, open: Map<number, string>): void {
  const target = event.target as HTMLElement;
  if (target.closest("a, details, .cl-tree") || String(getSelection() ?? "") !== "") return;
  if (open.delete(row.id)) actions.resized();
  else if (row.json || row.more > 0) {
    void actions.text(row.id).then((text) => {
      open.set(row.id, text);
      actions.resized();
    });
  } else if (message.scrollWidth > message.clientWidth) {
    open.set(row.id, "");
    actions.resized();
  }
}

function noticeRow(row: Row, actions: RowActions, open: Map<number, string>): HTMLElement {
  const words = noticeWords(row.text, (ms) => clock(ms).slice(0, 8));
  const text = h("span", { class: "cl-nt", title: words }, words);
  const tone = row.kind === "gap" ? "cl-gap" : row.kind === "hole" ? "cl-edge" : row.level >= 4 ? "cl-gaps" : "";
  const element = h("div", { class: `cl-r cl-note ${tone}`, "data-notice": row.kind }, text);
  if (row.kind === "hole") element.append(h("button", { type: "button", class: "cl-more", onclick: () => actions.hole(row.id) }, "Load"));
  if (row.hint) {
    const why = (): void => {
      if (!open.delete(row.id)) open.set(row.id, row.hint!);
      actions.resized();
    };
    element.append(h("button", { type: "button", class: "cl-more", "aria-expanded": String(open.has(row.id)), onclick: why }, "Why?"));
    if (open.has(row.id)) {
      element.classList.add("cl-open");
      element.append(h("div", { class: "cl-hint" }, row.hint));
    }
  }
  return element;
}

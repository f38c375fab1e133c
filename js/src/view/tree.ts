/** A record as a tree that opens: nested details, values typed by colour, and what can be done with each. Text is always text. */

import { visibleText } from "../store/parsing/controls.ts";
import { h } from "./dom.ts";

export interface TreeActions {
  /** Fields that rows show, in this order; none: all. */
  chosen: readonly string[];
  choose(field: string): void;
  filter(condition: { field: string; op: string; value: string }): void;
}

const MAX_CHILDREN = 500;
/** Longer values are no use as a condition. */
const MAX_VALUE = 200;
/** What a condition can name. */
const FIELD = /^[A-Za-z_@][\w.@/-]*$/;

function actionButton(sign: string, title: string, onclick: () => void): HTMLElement {
  return h("button", { type: "button", class: "cl-act", title, "aria-label": title, onclick }, sign);
}

/** Where the page may not write to the clipboard the value is selected, to be copied by hand. */
function copy(text: string, element: HTMLElement): void {
  const select = (): void => getSelection()?.selectAllChildren(element);
  if (navigator.clipboard) navigator.clipboard.writeText(text).catch(select);
  else select();
}

function valueElement(value: unknown): HTMLElement {
  const number = typeof value === "number" || typeof value === "bigint";
  const style = number ? "cl-n" : typeof value === "boolean" ? "cl-bool" : value === null ? "cl-k" : "";
  const text = visibleText(String(value));
  return h("span", { class: text.includes("\n") ? "cl-multi" : style }, text);
}

function valueActions(field: string | null, value: unknown, element: HTMLElement, actions: TreeActions): HTMLElement {
  const text = String(value);
  const found = h("span", { class: "cl-acts" });
  if (field !== null && text !== "" && text.length <= MAX_VALUE) {
    const ops: [op: string, sign: string, title: string][] = [["=", "=", `Only lines with ${field} = ${text}`], ["!=", "≠", `Only lines with another ${field}`]];
    if (typeof value === "number") ops.push([">=", "≥", `Only lines with ${field} of at least ${text}`], ["<=", "≤", `Only lines with ${field} of at most ${text}`]);
    for (const [op, sign, title] of ops) found.append(actionButton(sign, title, () => actions.filter({ field, op, value: text })));
  }
  found.append(actionButton("⧉", "Copy the value", () => copy(text, element)));
  return found;
}

/** `path` is null where nothing can name the place: within a list. */
function fieldElement(value: unknown, key: string, path: string | null, depth: number, actions: TreeActions): HTMLElement {
  const field = path !== null && FIELD.test(path) ? path : null;
  const name = visibleText(key);
  if (typeof value !== "object" || value === null) {
    const element = valueElement(value);
    const chosen = field !== null && actions.chosen.includes(field);
    const title = chosen ? "Take this field out of the rows" : "Show this field in the rows";
    const label = field === null ? h("span", { class: "cl-k" }, name) : h("button", { type: "button", class: "cl-key", title, "aria-pressed": String(chosen), onclick: () => actions.choose(field) }, name);
    return h("div", { class: "cl-leaf" }, label, h("span", { class: "cl-k" }, ": "), element, valueActions(field, value, element, actions));
  }
  const entries = Object.entries(value);
  const list = Array.isArray(value);
  const size = list ? `[${entries.length}]` : `{${entries.length}}`;
  const details = h("details", depth < 3 && entries.length <= 20 ? { open: true } : {}, h("summary", {}, h("span", { class: "cl-k" }, `${name}: ${size}`)));
  details.append(...children(entries, list ? null : path, depth, actions));
  return details;
}

function children(entries: [string, unknown][], path: string | null, depth: number, actions: TreeActions): HTMLElement[] {
  const found = entries.slice(0, MAX_CHILDREN).map(([key, value]) => fieldElement(value, key, path === null ? null : path === "" ? key : `${path}.${key}`, depth + 1, actions));
  if (entries.length > MAX_CHILDREN) found.push(h("div", { class: "cl-k" }, `… ${entries.length - MAX_CHILDREN} more`));
  return found;
}

export function recordTree(fields: Record<string, unknown>, actions: TreeActions): HTMLElement {
  return h("div", { class: "cl-tree" }, ...children(Object.entries(fields), "", 0, actions));
}

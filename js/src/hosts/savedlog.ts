/**
 * The end of what a viewer shows as self-contained HTML, which a notebook saves: it is shown when the notebook is opened without
 * its kernel, and in what nbconvert makes of it. The kernel writes the same form when a cell is run (notebook/static_html.py).
 */

import type { SavedRow, SavedView } from "../protocol/update.ts";
import { paletteColour } from "../text/colours.ts";
import { formatClock, formatUtcClock, groupDigits, truncate, zoneName } from "../text/format.ts";
import { LEVELS } from "../text/level.ts";
import { h } from "../ui/dom.ts";
import { formatNotice } from "../ui/row.ts";

/** Maximum number of lines that are saved in the notebook's file. */
const MAX_LINES = 200;
/** Maximum number of characters that are saved of each line. */
const MAX_CHARS = 500;
/** Maximum number of characters of the HTML of all lines. */
const MAX_HTML_CHARS = 262_144;
/** Maximum number of characters of the HTML of a traceback's lines: the newest row always fits. */
const MAX_TRACEBACK_CHARS = MAX_HTML_CHARS / 2;

// Transparency instead of fixed colours, so that it suits a light and a dark page.
// The column is reversed, so that the box is scrolled to the end at first.
const BOX = "display:flex;flex-direction:column-reverse;max-height:24em;overflow:auto;border:1px solid rgba(128,128,128,.4);border-radius:3px;padding:.4em .6em;margin:0;font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere";
const DIM = "opacity:.65";
const ERROR = "box-shadow:inset 3px 0 #c0392b;padding-left:6px;background:rgba(192,57,43,.08)";
const LEVEL_STYLES: Record<string, string> = { warning: "box-shadow:inset 3px 0 #b8860b;padding-left:6px", error: ERROR, critical: `${ERROR};font-weight:600` };
/** A terminal's colours with the same contrast to white and to black. */
const INKS = ["", "#d04545", "#2c8a2c", "#86791a", "#5f74d6", "#b952b9", "#2b8484", ""];
const RUN_STYLES: Record<string, string> = { k: DIM, e: "font-weight:600" };
const WORD_STYLES: Record<string, string> = { b: "font-weight:600", f: DIM, i: "font-style:italic", u: "text-decoration:underline" };

/** Return the end of a log as HTML without scripts, ids or links. */
export function savedLog(view: SavedView): string {
  const { tasks, filter, time, rows, counts } = view;
  const head = h("div", { style: "padding:.2em 0" });
  for (const [i, { name, state }] of tasks.entries()) head.append(i > 0 ? ", " : "", h("b", {}, name), ` · ${state}`);
  if (filter !== "") head.append(` · ${filter}`);
  const body = h("div", {});
  const lastTraceback = rows.findLast(({ lines }) => lines !== undefined);
  let [count, chars] = [0, 0];
  for (const row of rows.toReversed()) {
    const element = rowElement(row, view, row === lastTraceback);
    chars += serialize(element).length;
    if (chars > MAX_HTML_CHARS || count >= MAX_LINES) break;
    count += row.kind === "line" ? (row.lines?.length ?? 1) : 0;
    body.prepend(element);
  }
  if (count === 0) body.append(h("div", { style: DIM }, "no lines yet"));
  const zone = time === "off" || count === 0 ? "" : `, times in ${time === "utc" ? "UTC" : zoneName(rows.at(-1)!.time)}`;
  const hint = `${count > 1 ? `The last ${groupDigits(count)} lines` : "The log"} when this notebook was saved${zone}; run the cell again for the live view.`;
  const foot = h("div", { style: "font-size:90%;padding:.2em 0" }, h("div", {}, counts), h("div", { style: DIM }, hint));
  // Structured lines can hold half of a surrogate pair. A notebook with one cannot be saved.
  return serialize(h("div", { class: "cortex-logs-static", style: "margin:.2em 0" }, head, h("div", { style: BOX }, body), foot)).replace(/\p{Cs}/gu, "\ufffd");
}

/** Return an element as markup. Its texts are escaped, as they were never parsed. */
function serialize(element: HTMLElement): string {
  return new XMLSerializer().serializeToString(element).replace(' xmlns="http://www.w3.org/1999/xhtml"', "");
}

function rowElement(row: SavedRow, { time, sources }: SavedView, isOpen: boolean): HTMLElement {
  if (row.kind !== "line") return h("div", { style: `${DIM};font-style:italic` }, formatNotice(row.text, (ms) => formatClock(ms).slice(0, 8)));
  const source = sources[row.source];
  const name = source?.name ? `${source.name} ` : "";
  const clock = time === "off" ? "" : `${time === "utc" ? formatUtcClock(row.time) : formatClock(row.time)} `;
  const values = row.values?.some(Boolean) ? `${row.values.map((value) => value || "-").join("  ")}  ` : null;
  const prefix = [clock === "" ? null : h("span", { style: DIM }, clock), name === "" ? null : h("span", { style: `color:oklch(.58 .13 ${paletteColour(source.colour).hue})` }, name), values];
  const aside = [row.repeats === undefined ? "" : `× ${groupDigits(row.repeats)}`, row.aside].filter(Boolean).join(" · ");
  const after = aside === "" ? null : h("span", { style: DIM }, ` · ${aside}`);
  const style = LEVEL_STYLES[LEVELS[row.level]];
  if (row.lines === undefined) return h("div", style ? { style } : {}, ...prefix, ...styledText(row), after);
  const lines: HTMLElement[] = [];
  let chars = 0;
  for (const line of row.lines.slice(0, MAX_LINES)) {
    const element = h("div", {}, cut(line));
    chars += serialize(element).length;
    if (chars > MAX_TRACEBACK_CHARS) break;
    lines.push(element);
  }
  const left = row.lines.length - lines.length;
  if (left > 0) lines.push(h("div", { style: DIM }, `… ${groupDigits(left)} more lines`));
  return h("details", { style: ERROR, open: isOpen }, h("summary", { style: "cursor:pointer" }, ...prefix, ...styledText(row), after), h("div", { style: "padding-left:2em" }, ...lines));
}

function cut(text: string): string {
  const start = truncate(text, MAX_CHARS);
  return start + describeRest(text.length - start.length);
}

function describeRest(chars: number): string {
  return chars > 0 ? ` … ${groupDigits(chars)} more characters` : "";
}

function styledText({ text, runs, hiddenChars }: SavedRow): (Node | string)[] {
  const parts: (Node | string)[] = [];
  const end = truncate(text, MAX_CHARS).length;
  let [at, style] = [0, ""];
  for (const [next, name] of [...runs, [end, ""] as const]) {
    const part = text.slice(at, Math.min(next, end));
    if (part !== "") parts.push(style === "" ? part : h("span", { style }, part));
    at = Math.max(at, next);
    style = runStyle(name);
  }
  return [...parts, describeRest(text.length + hiddenChars - end)];
}

/** Return a run's style as CSS: weight and slant, and colours that can be read on light and dark pages. */
function runStyle(name: string): string {
  if (!name.startsWith("a ")) return RUN_STYLES[name] ?? "";
  const words = name.slice(2).split(" ").map((word) => {
    const ink = /^f\d/.test(word) ? INKS[Number(word.slice(1)) % 8] : "";
    return ink ? `color:${ink}` : WORD_STYLES[word];
  });
  return words.filter(Boolean).join(";");
}

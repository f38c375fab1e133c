/** The keys, in one table: what they do, and what the help says of them. They act only while the viewer has the focus. */

import { button, h } from "./dom.ts";

export type Action =
  | "filter" | "find" | "next" | "previous" | "escape" | "newest" | "oldest" | "follow" | "goto" | "nextError" | "previousError" | "death"
  | "same" | "open" | "time" | "wrap" | "json" | "full" | "help" | "bigger" | "smaller" | "mark" | "copy" | "copyCode" | "context" | "sources" | "reverse" | "chart";

const GROUPS: [title: string, keys: [keys: string[], shown: string, action: Action, what: string][]][] = [
  ["Look for", [
    [["/"], "/", "filter", "filter: show only what matches"],
    [["Ctrl+f", "F3"], "Ctrl F", "find", "find without filtering"],
    [["n"], "n", "next", "next match"],
    [["N"], "N", "previous", "previous match"],
    [["e"], "e", "nextError", "next error"],
    [["E"], "E", "previousError", "previous error"],
    [["c"], "c", "context", "this line in context, without the filter"],
    [["Escape"], "Esc", "escape", "close, clear"],
  ]],
  ["Go to", [
    [["g", "Home"], "g", "oldest", "oldest line"],
    [["G", "End"], "G", "newest", "newest line, and follow"],
    [["F", " "], "F", "follow", "follow or pause"],
    [[":"], ":", "goto", "a time: 14:03, -5m"],
    [["d"], "d", "death", "last line before the task died"],
  ]],
  ["Show", [
    [["t"], "t", "time", "times: local, UTC, since start, since before, off"],
    [["w"], "w", "wrap", "wrap long lines"],
    [["j"], "j", "json", "JSON lines with the message first"],
    [["Enter", "o"], "Enter", "open", "open or fold the picked line"],
    [["u"], "u", "same", "fold equal lines, then whatever their numbers"],
    [["r"], "r", "reverse", "newest line on top, or at the bottom"],
    [["s"], "s", "sources", "sources"],
    [["p"], "p", "chart", "chart of the metrics, beside the lines"],
    [["f"], "f", "full", "full screen"],
    [["+", "="], "+", "bigger", "larger text"],
    [["-"], "−", "smaller", "smaller text"],
  ]],
  ["Take along", [
    [["m"], "m", "mark", "bookmark the line, with a note"],
    [["y"], "y", "copy", "copy the picked lines"],
    [["Y"], "Y", "copyCode", "copy them as code"],
    [["?"], "?", "help", "these keys"],
  ]],
];

const ACTIONS = new Map(GROUPS.flatMap(([, rows]) => rows.flatMap(([keys, , action]) => keys.map((key): [string, Action] => [key, action]))));

/** What a key does; undefined for what is not ours. */
export function actionOf(event: KeyboardEvent): Action | undefined {
  const control = event.ctrlKey || event.metaKey;
  if (event.altKey) return undefined;
  return ACTIONS.get(control ? `Ctrl+${event.key.toLowerCase()}` : event.key);
}

export function helpPanel(close: () => void): HTMLElement {
  const groups = GROUPS.map(([title, rows]) => h("section", {}, h("h4", {}, title), ...rows.map(([, shown, , what]) => h("div", {}, h("kbd", {}, shown), " ", what))));
  const picking = h("p", { class: "cl-dim" }, "Click a time to pick a line, Shift-click or Shift ↑↓ to pick more. In the list of sources ↑↓, Home and End go from row to row.");
  return h("div", { class: "cl-help", role: "dialog", "aria-label": "Keys", hidden: true }, h("div", { class: "cl-keys" }, ...groups), picking, button("Close", "Close", close, { class: "btn cl-outline" }));
}

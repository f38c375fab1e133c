/** The list of keys. Their actions are in commands.ts. */

import { button, h } from "./dom.ts";

const GROUPS: [title: string, keys: [shown: string, what: string][]][] = [
  ["Look for", [
    ["/", "filter: show only what matches; ↑ earlier ones"],
    ["Ctrl F", "find without filtering"],
    ["n", "next match"],
    ["N", "previous match"],
    ["e", "next error"],
    ["E", "previous error"],
    ["c", "this line in context, without the filter"],
    ["Esc", "close, clear"],
  ]],
  ["Go to", [
    ["g", "oldest line"],
    ["G", "newest line, and follow"],
    ["F", "follow or pause"],
    [":", "a time: 14:03, -5m"],
    ["W", "a window: 2h, 10:00 to 10:20, yesterday"],
    ["d", "last line before the task died"],
  ]],
  ["Show", [
    ["t", "times: local, UTC, since start, since before, off"],
    ["h", "hide or show times and levels in the text that the columns show too"],
    ["w", "wrap long lines"],
    ["j", "JSON lines with the message first"],
    ["Enter", "open or fold the picked line"],
    ["u", "fold equal lines, then also those that differ in numbers"],
    ["r", "newest line on top, or at the bottom"],
    ["s", "sources"],
    ["p", "chart of the metrics, beside the lines"],
    ["P", "patterns and fields, beside the lines"],
    ["f", "full screen"],
    ["+", "larger text"],
    ["−", "smaller text"],
  ]],
  ["Take along", [
    ["m", "bookmark the line, with a note"],
    ["b", "next bookmark"],
    ["B", "previous bookmark"],
    ["y", "copy the picked lines"],
    ["M", "copy them as Markdown, with a link"],
    ["Y", "copy them as code"],
    ["L", "copy a link to the line"],
    ["?", "these keys"],
  ]],
];

const PICKING = "Click a time or press Shift ↑↓ to pick a line, Shift-click or Shift ↑↓ to pick more; ↑↓ move a picked line. In the list of sources ↑↓, Home and End go from row to row.";

/** Return the content of a dialog that lists the keys. */
export function keyHelp(close: () => void): HTMLElement[] {
  const groups = GROUPS.map(([title, keys]) => h("section", {}, h("h3", {}, title), ...keys.map(([shown, what]) => h("div", {}, h("kbd", {}, shown), " ", what))));
  return [h("div", { class: "cl-keys" }, ...groups), h("p", { class: "cl-dim" }, PICKING), button("Close", "Close", close, { class: "btn cl-outline" })];
}

/** Shown rows as text to be taken along: as they read, as JSON, or as the code that gives them in Python. */

import { LEVELS } from "../parsing/level.ts";
import type { Selection } from "./selection.ts";
import { NOTICE } from "../holding/flags.ts";

/** More than a clipboard and a page are glad of. */
const MAX_COPIED = 100_000;

export function copyRows(selection: Selection, ids: number[], as: "text" | "json" | "code"): string {
  const { stores } = selection;
  const lines: string[] = [];
  let [low, high] = [Infinity, -Infinity];
  for (const id of ids) {
    if (lines.length >= MAX_COPIED) break;
    const store = stores[selection.slotOf(id)];
    const row = selection.rowOf(id);
    if (store.flags[row] & NOTICE) continue;
    // What is folded is taken along.
    for (const one of [row, ...(selection.opened.has(id) ? [] : store.folds.membersOf(row))]) {
      const [seq, text] = [store.seq[one], store.texts[one]];
      [low, high] = [Math.min(low, seq), Math.max(high, seq)];
      if (as === "code") lines.push("");
      else if (as === "text") lines.push(text);
      else {
        const { pod, container } = store.sources[store.source[one]];
        lines.push(JSON.stringify({ seq, time: new Date(store.timeOf(one)).toISOString(), pod, container, level: LEVELS[store.levelOf(one)] || null, text }));
      }
    }
  }
  if (as === "code") return lines.length === 0 ? "" : `log[${low}:${high + 1}]`;
  return lines.map((line) => `${line}\n`).join("");
}

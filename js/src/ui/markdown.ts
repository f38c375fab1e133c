/** Lines as Markdown, for an issue or a chat: which lines they are, with a link, and a block with their text. */

import { stripEscapes } from "../text/ansi.ts";

/** A line as it is copied as JSON. */
export interface CopiedLine {
  /** Given if the viewer shows several tasks. */
  task?: string;
  seq: number;
  /** RFC 3339, in UTC. */
  time: string;
  pod: string;
  container: string;
  text: string;
}

/** More pods than this are not named. */
const MAX_PODS = 3;

function joinSome(names: string[]): string {
  const shown = names.slice(0, MAX_PODS).map((name) => `\`${name}\``).join(", ");
  return names.length > MAX_PODS ? `${shown} and ${names.length - MAX_PODS} more` : shown;
}

/** Return a fence that no text within it ends. */
function fenceFor(body: string): string {
  return "`".repeat(Math.max(3, 1 + Math.max(0, ...Array.from(body.matchAll(/`+/g), ([run]) => run.length))));
}

/** Format lines in their displayed order. `link` is the address of the first one; "" for none. */
export function formatMarkdown(lines: CopiedLine[], tasks: string[], link: string): string {
  if (lines.length === 0) return "";
  const named = [...new Set(lines.map(({ task }) => task ?? tasks[0]))];
  const pods = [...new Set(lines.map(({ pod }) => pod))];
  const times = lines.map(({ time }) => time.replace("T", " ").slice(0, 23)).toSorted();
  const [from, to] = [times[0], times.at(-1)!];
  const until = to === from ? "" : ` to ${to.slice(0, 10) === from.slice(0, 10) ? to.slice(11) : to}`;
  const seqs = lines.map(({ seq }) => seq).toSorted((a, b) => a - b);
  const [first, last] = [seqs[0], seqs.at(-1)!];
  // Lines are numbered in the order of recording, so lines with numbers in between may be displayed elsewhere.
  const isWhole = named.length === 1 && last - first === lines.length - 1;
  const numbers = lines.length === 1 ? `line ${first}` : isWhole ? `lines ${first} to ${last}` : `${lines.length} lines`;
  const head = [joinSome(named), joinSome(pods), `${from}${until} UTC`, link === "" ? numbers : `[${numbers}](${link})`];
  const body = lines.map(({ time, pod, text }) => [time.slice(11, 23), ...(pods.length > 1 ? [pod] : []), stripEscapes(text)].join(" ").trimEnd()).join("\n");
  const fence = fenceFor(body);
  return `${head.join(" · ")}\n\n${fence}text\n${body}\n${fence}\n`;
}

/** From what the reader typed to a test of a line. Never throws: an invalid regex is an answer too. */

import type { Filter } from "../types.ts";
import { strip } from "./controls.ts";

export interface Matcher {
  test(text: string): boolean;
  /** Starts and ends of the matches in a row's text. */
  find(text: string): number[];
  /** What was typed, when a regex that may explode has to be named. */
  regex: string;
  active: boolean;
  error: string;
}

const MAX_MARKS = 200;

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}

/** Case counts when a capital was typed; the letters of `\W` and the like are no capitals. */
function flagsFor(text: string): string {
  return /\p{Lu}/u.test(text.replace(/\\./g, "")) ? "" : "i";
}

/** A pattern as JavaScript or as Python writes it: `(?i)` in front, `(?P<name>`, `\A` and `\Z`. */
function fromPython(written: string, flags: string): [source: string, flags: string] {
  const [head = "", given = ""] = /^\(\?([aimsux]+)\)/.exec(written) ?? [];
  const source = written
    .slice(head.length)
    .replace(/\(\?P</g, "(?<")
    .replace(/\(\?P=(\w+)\)/g, "\\k<$1>")
    .replace(/\\./gs, (found) => (found === "\\A" ? "^" : found === "\\Z" ? "$" : found));
  return [source, [...new Set(`${given.replace(/[^ims]/g, "")}${flags}`)].join("") || (head === "" ? flagsFor(source) : "")];
}

function literal(text: string): (line: string) => boolean {
  if (flagsFor(text) === "") return (line) => line.includes(text);
  const pattern = new RegExp(escaped(text), "i");
  return (line) => pattern.test(line);
}

/** What is left out: words, or a /regex/ as Python gives it. */
function unwanted(text: string): (line: string) => boolean {
  const [, source, flags] = /^\/(.+)\/([ims]*)$/.exec(text) ?? [];
  if (source === undefined) return literal(text);
  const regex = new RegExp(...fromPython(source, flags));
  return (line) => regex.test(line);
}

/** `loss -healthz -"GET /"`: what is wanted, and the words to leave out. */
export function splitExcludes(text: string): { grep: string; exclude: string[] } {
  const exclude: string[] = [];
  const grep = text.replace(/(^|\s)-(?:"([^"]+)"|([^\s"\d-]\S*))/g, (_all, _space: string, quoted?: string, word?: string) => {
    exclude.push((quoted ?? word)!);
    return "";
  });
  return exclude.length > 0 ? { grep: grep.trim(), exclude } : { grep: text, exclude };
}

export function compile(filter: Pick<Filter, "grep" | "regex" | "exclude">): Matcher {
  let { grep } = filter;
  let error = "";
  let regex = "";
  let positive: ((line: string) => boolean) | undefined;
  let marker: RegExp | undefined;
  const excluded = [...filter.exclude];
  const slashed = /^\/(.+)\/([ims]*)$/.exec(grep);
  if (slashed !== null || (filter.regex && grep !== "")) {
    try {
      const [source, flags] = fromPython(slashed ? slashed[1] : grep, slashed?.[2] ?? "");
      const wanted = new RegExp(source, flags);
      marker = new RegExp(source, `g${flags}`);
      positive = (line) => wanted.test(line);
      regex = source;
    } catch (reason) {
      error = String(reason instanceof Error ? reason.message : reason).replace(/^Invalid regular expression: /, "");
    }
  } else {
    const split = splitExcludes(grep);
    grep = split.grep;
    excluded.push(...split.exclude);
    if (grep !== "") {
      marker = new RegExp(escaped(grep), `g${flagsFor(grep)}`);
      positive = literal(grep);
    }
  }
  const negative: ((line: string) => boolean)[] = [];
  for (const text of excluded.filter(Boolean)) {
    try {
      negative.push(unwanted(text));
    } catch (reason) {
      error = `${text}: ${String(reason instanceof Error ? reason.message : reason)}`;
    }
  }
  return {
    regex,
    error,
    active: positive !== undefined || negative.length > 0,
    test(text) {
      const line = text.includes("\u001b") ? strip(text) : text;
      if (positive !== undefined && !positive(line)) return false;
      for (const unwelcome of negative) if (unwelcome(line)) return false;
      return true;
    },
    find(text) {
      const marks: number[] = [];
      if (marker === undefined) return marks;
      marker.lastIndex = 0;
      for (let found = marker.exec(text); found !== null && marks.length < MAX_MARKS; found = marker.exec(text)) {
        if (found[0] === "") marker.lastIndex++;
        else marks.push(found.index, found.index + found[0].length);
      }
      return marks;
    },
  };
}

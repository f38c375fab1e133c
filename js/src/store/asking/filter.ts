/** From what the reader typed, and the chips, to a test of a line. Never throws: an invalid regex is an answer too. */

import type { Filter } from "../../types/asked.ts";
import { stripEscapes } from "../parsing/controls.ts";
import { rankOf } from "../parsing/level.ts";
import { isRegex, termRegex, type Terms, parseTerms, termTest } from "./terms.ts";
import { parseConditions, conditionTest, conditionRegex } from "./where.ts";

export interface Matcher {
  test(text: string): boolean;
  /** Starts and ends of the matches in a row's text. */
  find(text: string): number[];
  /** What was typed, when a regex that may explode has to be named. */
  regex: string;
  /** The least rank of a level that is wanted; 0 for any. */
  rank: number;
  active: boolean;
  error: string;
}

const MAX_MARKS = 200;

/** What is being typed together with the chips. */
export function filterTerms(filter: Partial<Filter>): Terms {
  const { grep = "", regex = false, matchCase = false, include = [], exclude = [], where = [], level = "" } = filter;
  const typed = parseTerms(grep, regex, matchCase);
  return {
    include: [...include, ...typed.include].filter(Boolean),
    exclude: [...exclude, ...typed.exclude].filter(Boolean),
    where: [...where, ...typed.where].filter(Boolean),
    level: rankOf(typed.level) > rankOf(level) ? typed.level : level,
  };
}

export function usesRegex(filter: Partial<Filter>): boolean {
  const { include, exclude } = filterTerms(filter);
  return [...include, ...exclude].some(isRegex);
}

export function compileFilter(filter: Partial<Filter>): Matcher {
  const terms = filterTerms(filter);
  const wanted: ((line: string) => boolean)[] = [];
  const unwanted: ((line: string) => boolean)[] = [];
  const markers: RegExp[] = [];
  let error = "";
  const attempt = (what: string, work: () => void): void => {
    try {
      work();
    } catch (reason) {
      error ||= `${what}: ${String(reason instanceof Error ? reason.message : reason).replace(/^Invalid regular expression: /, "")}`;
    }
  };
  for (const term of terms.include) {
    attempt(term, () => {
      markers.push(termRegex(term, "g"));
      wanted.push(termTest(term));
    });
  }
  for (const term of terms.exclude) attempt(term, () => unwanted.push(termTest(term)));
  for (const text of terms.where) {
    const found = parseConditions(text);
    if (found === null) error ||= `${text} is no condition on a field: write status>=500 or user="a b"`;
    for (const condition of found ?? []) {
      wanted.push(conditionTest(condition));
      markers.push(conditionRegex(condition));
    }
  }
  return {
    regex: [...terms.include, ...terms.exclude].find(isRegex) ?? "",
    rank: rankOf(terms.level),
    error,
    active: wanted.length + unwanted.length > 0,
    test(text) {
      const line = text.includes("\u001b") ? stripEscapes(text) : text;
      return wanted.every((test) => test(line)) && !unwanted.some((test) => test(line));
    },
    find: (text) => findMarks(text, markers),
  };
}

/** Starts and ends, in order and apart from each other. */
function findMarks(text: string, markers: RegExp[]): number[] {
  const marks: [number, number][] = [];
  for (const one of markers) {
    one.lastIndex = 0;
    for (let found = one.exec(text); found !== null && marks.length < MAX_MARKS; found = one.exec(text)) {
      if (found[0] === "") one.lastIndex++;
      else marks.push([found.index, found.index + found[0].length]);
    }
  }
  if (markers.length > 1) marks.sort((a, b) => a[0] - b[0]);
  const flat: number[] = [];
  for (const [from, to] of marks) {
    if (flat.length > 0 && from <= flat[flat.length - 1]) flat[flat.length - 1] = Math.max(flat[flat.length - 1], to);
    else flat.push(from, to);
  }
  return flat;
}

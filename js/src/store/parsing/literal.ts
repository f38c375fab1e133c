/** The numbers of a JSON object or a Python dict, in a shape: where each is, by its dotted name. */

import { PLACEHOLDER } from "./shape.ts";

/** Names of a JSON line that hold a time. */
const TIMES = new Set(["time", "t", "created", "msecs", "relativecreated", "asctime"]);
const PIECE = /\s*(?:([{}[\](),:])|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(-?)(\0|[A-Za-z]+))/y;
const MAX_DEPTH = 40;

type Value = Dict | number | { mark: number } | { text: string; mark: number } | null;
type Dict = Map<string, Value>;

class Unreadable extends Error {}

/** `first` is the number of tokens before it. Throws nothing: what is no such object has no numbers. */
export function parseNumbers(text: string, first: number): Map<string, number> | undefined {
  try {
    const reader = new LiteralReader(text, first);
    const doc = reader.value(0);
    if (!(doc instanceof Map) || !reader.atEnd) return undefined;
    const found = new Map<string, number>();
    collectNumbers(doc, "", reader.python, found);
    return found;
  } catch (reason) {
    if (reason instanceof Unreadable) return undefined;
    throw reason;
  }
}

/** A value that is not finite is given as it is, one that is a token as -1 - its place: the two cannot be mistaken. */
export const tokenRef = (place: number): number => -1 - place;

function collectNumbers(doc: Dict, prefix: string, python: boolean, found: Map<string, number>): void {
  for (const [key, value] of doc) {
    // A name with a number in it is another in each line.
    if (key.includes(PLACEHOLDER)) continue;
    const name = prefix + key;
    if (value instanceof Map) collectNumbers(value, `${name}.`, python, found);
    else if (value === null || TIMES.has(key.toLowerCase()) || found.has(name)) continue;
    else if (typeof value === "number") found.set(name, python ? Number.NaN : value);
    // Since Transformers 5 its dicts hold numbers as text.
    else if (!("text" in value) || (python && value.text === PLACEHOLDER)) found.set(name, tokenRef(value.mark));
  }
}

class LiteralReader {
  /** It says so itself: quotes, names of constants. */
  python = false;
  #at = 0;
  #mark: number;

  constructor(private readonly text: string, first: number) {
    this.#mark = first;
  }

  get atEnd(): boolean {
    return this.text.slice(this.#at).trim() === "";
  }

  #next(): RegExpExecArray {
    PIECE.lastIndex = this.#at;
    const match = PIECE.exec(this.text);
    if (match === null) throw new Unreadable();
    this.#at = PIECE.lastIndex;
    return match;
  }

  value(depth: number): Value {
    if (depth > MAX_DEPTH) throw new Unreadable();
    const [, sign, double, single, minus, word] = this.#next();
    const string = double ?? single;
    if (string !== undefined) {
      if (single !== undefined) this.python = true;
      const mark = this.#mark;
      this.#mark += string.split(PLACEHOLDER).length - 1;
      return { text: string, mark };
    }
    if (sign === "{") return this.#dict(depth);
    if (sign === "[" || sign === "(") return this.#list(depth, sign === "[" ? "]" : ")");
    if (word === PLACEHOLDER) {
      const mark = this.#mark++;
      return minus ? null : { mark };
    }
    if (["True", "False", "None", "nan", "inf"].includes(word)) this.python = true;
    if (/^(?:nan|NaN)$/.test(word)) return Number.NaN;
    if (/^(?:inf|Infinity)$/.test(word)) return minus ? -Infinity : Infinity;
    if (/^(?:true|false|null|True|False|None)$/.test(word)) return null;
    throw new Unreadable();
  }

  #dict(depth: number): Dict {
    const found: Dict = new Map();
    for (;;) {
      const key = this.#key();
      if (key === null) return found;
      if (this.#next()[1] !== ":") throw new Unreadable();
      found.set(key, this.value(depth + 1));
      const [, sign] = this.#next();
      if (sign === "}") return found;
      if (sign !== ",") throw new Unreadable();
    }
  }

  /** Null at the dict's end. Keys that are no text have no name. */
  #key(): string | null {
    const [, sign, double, single, , word] = this.#next();
    if (sign === "}") return null;
    const string = double ?? single;
    if (string === undefined && word !== PLACEHOLDER) throw new Unreadable();
    if (single !== undefined || word === PLACEHOLDER) this.python = true;
    this.#mark += (string ?? word).split(PLACEHOLDER).length - 1;
    return string ?? "";
  }

  #list(depth: number, end: string): null {
    for (;;) {
      PIECE.lastIndex = this.#at;
      const match = PIECE.exec(this.text);
      if (match?.[1] === end) {
        this.#at = PIECE.lastIndex;
        return null;
      }
      this.value(depth + 1);
      const [, sign] = this.#next();
      if (sign === end) return null;
      if (sign !== ",") throw new Unreadable();
    }
  }
}

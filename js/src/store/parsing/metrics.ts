/**
 * What numbers a line reports: `loss=0.31 step=400`, JSON, dicts, progress bars, tables. The rules are those of
 * cortex_jupyter/parsing/metrics.py, which says what each is for; tests/parsing/metrics.json holds for both.
 * A rule runs once per shape (see shape.ts) and not once per line.
 */

import { parseNumbers, tokenRef } from "./literal.ts";
import { PLACEHOLDER, parseNumber, shapeOf } from "./shape.ts";

export interface MetricValues {
  values: [name: string, value: number][];
  /** NaN where the line names none. */
  step: number;
  epoch: number;
}

/** Places among the line's tokens, -1 for none; of a value, see literal.ts. */
interface ShapeReading {
  values: [name: string, value: number][];
  step: number;
  epoch: number;
}

/** Python's \w knows letters of all scripts. */
const W = String.raw`\p{L}\p{N}_`;
const VALUE = String.raw`(\0|[-+]?(?:[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)(?![${W}]))(?!%\|)%?(?![${W}\0]|[-:/.,]\0|-[${W}])`;
const NAME = `[A-Za-z_][${W}.@/%+'-]*`;
const re = (source: string, flags = ""): RegExp => new RegExp(source, `u${flags}`);

const PAIR = re(String.raw`(\s*=\s*|\s*:\s+|:)[\[\(]?${VALUE}`, "g");
const NAME_AT_END = re(String.raw`(?<![${W}.?&])(${NAME}(?:\[[${W}]+\])?)['"]?$`);
const NAME_BOUNDARY = re(String.raw`[|,;\t\[\]:(){}"=]|\s-\s|\s{2,}|\0`, "g");
const WORDS = re(String.raw`^${NAME}(?: [A-Za-z_(][${W}.@/%+')-]*){0,3}$`);
const PIPED = re(String.raw`^\s*([A-Za-z_][${W}.@/ ()-]*?)\s*[:=]?\s+${VALUE}\s*$`);
const AVERAGED = re(String.raw`^\s*([A-Za-z_][${W}.@/-]*)\s+${VALUE}\s*\(\s*\0\)`);
const LEVELS = /(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\s+/g;
const STEPS = [String.raw`(?:[${W}]+[_/])?global[_ ]step`, "steps?", "iterations?|iter|updates?|num_updates", "rounds?|batch|it"].map((words) => labelledNumber(words));
const EPOCH = labelledNumber("epochs?", "%");
const BAR = /(?:^|[|\s[])\s*\0\/\0(?:\s+\[|\s+[━=>-]|\s*\(|\]|\s+-\s)/;
const ROUND = /^\s*(?:\0-\0-\0\S* \0:\0:\S*\s+)?\[\0\]\s/;
const FILE = re(String.raw`\.[${W}]{1,3}$`);
const EPOCHS = new Set(["epoch", "epochs"]);
/** Steps, and numbers that say where, who or when, and not how well. */
const NOT_METRICS = new Set(
  ("step steps global_step trainer/global_step iteration iterations iter update updates num_updates round batch it rank global_rank " +
    "pid tid thread port seed line lineno level ts timestamp @timestamp date local_rank node_rank world_size v_num eta id uid gid version http").split(" "),
);
const MAY_HAVE_METRICS = /[^0-9 \t][ \t]*[=:][[( \t]*[-+.]?(?:[0-9]|[nN]a[nN]|[iI]nf)|[eE][pP][oO][cC][hH]|\|[ \t]*[A-Za-z].* [0-9]|\t[A-Za-z].*[0-9]/;
// eslint-disable-next-line no-control-regex
const COLOUR = /\u001b\[[0-?]*[ -/]*[@-~]/g;
/** A line is read up to here: longer ones report no metrics, and rules may look at each pair of spaces. */
const MAX_CHARS = 8192;
const MAX_SHAPES = 4000;
/** The same at the end of several words: `Booting worker with pid: 7`. */
const ID_NAMES = new Set(["pid", "tid", "port", "id", "uid", "gid"]);
/** Code and values that pytest, rich and pip show of an error. */
const CODE_LINE = /^(?:\s*│|> |E {3})/;

/** A word for a number, then the number. */
function labelledNumber(words: string, more = ""): RegExp {
  return re(String.raw`(?<![${W}.\/])(?:${words})["']?\s*[:=#]?\s*[\[\(]?\s*\0(?![${W}\0${more}]|[-:.]\0)`, "i");
}

const readingsByShape = new Map<string, ShapeReading | null>();

/** What a line reports; a progress bar's states one by one. */
export function parseMetrics(text: string): MetricValues[] {
  const found: MetricValues[] = [];
  const line = text.includes("\u001b") ? text.slice(0, MAX_CHARS).replace(COLOUR, "") : text.slice(0, MAX_CHARS);
  if (!MAY_HAVE_METRICS.test(line)) return found;
  for (const state of line.includes("\r") ? line.split("\r") : [line]) {
    const { text: shape, tokens } = shapeOf(state);
    let reading = readingsByShape.get(shape);
    if (reading === undefined) {
      if (readingsByShape.size > MAX_SHAPES) readingsByShape.clear();
      readingsByShape.set(shape, (reading = readShape(shape)));
    }
    if (reading === null) continue;
    const number = (place: number): number => (place < 0 ? Number.NaN : (parseNumber(tokens[place]) ?? Number.NaN));
    const values: MetricValues["values"] = [];
    for (const [name, value] of reading.values) {
      const said = Number.isFinite(value) ? parseNumber(tokens[-1 - value]) : value;
      if (said !== undefined) values.push([name, said]);
    }
    if (values.length > 0) found.push({ values, step: number(reading.step), epoch: number(reading.epoch) });
  }
  return found;
}

/** What lines of a shape report; null where there is neither a value nor an epoch. */
function readShape(shape: string): ShapeReading | null {
  if (CODE_LINE.test(shape)) return null;
  let found = new Map<string, number>();
  const brace = shape.indexOf("{");
  if (brace >= 0 && shape.trimEnd().endsWith("}")) found = parseNumbers(shape.slice(brace), tokensBefore(shape, brace)) ?? found;
  if (found.size === 0) {
    readPairs(shape, found);
    readColumns(shape, found);
  }
  const step = STEPS.map((kind) => kind.exec(shape)).find((match) => match !== null);
  const epoch = EPOCH.exec(shape);
  if (epoch && !found.has("epoch")) found.set("epoch", tokenRef(lastToken(shape, epoch)));
  const round = ROUND.exec(shape);
  const bar = BAR.exec(shape);
  const values = [...found].filter(([name]) => {
    const low = name.trim().toLowerCase();
    const end = low.split(/\s+/).at(-1)!;
    return low !== "" && !NOT_METRICS.has(name.toLowerCase()) && !ID_NAMES.has(end) && (name === "epoch" || !EPOCHS.has(end));
  });
  if (values.length === 0) return null;
  const at = step ? lastToken(shape, step) : round ? lastToken(shape, round) : epoch ? lastToken(shape, epoch) : bar ? tokensBefore(shape, shape.indexOf(PLACEHOLDER, bar.index) + 1) - 1 : -1;
  return { values, step: at, epoch: epoch ? lastToken(shape, epoch) : -1 };
}

/** How many tokens stand before. */
function tokensBefore(shape: string, end: number): number {
  let count = 0;
  for (let at = shape.indexOf(PLACEHOLDER); at >= 0 && at < end; at = shape.indexOf(PLACEHOLDER, at + 1)) count++;
  return count;
}

/** The place of a match's last token. */
function lastToken(shape: string, { index, 0: { length } }: RegExpExecArray): number {
  return tokensBefore(shape, index + length) - 1;
}

function valueAt(shape: string, text: string, at: number): number {
  if (text === PLACEHOLDER) return tokenRef(tokensBefore(shape, at));
  return /nan/i.test(text) ? Number.NaN : text.startsWith("-") ? -Infinity : Infinity;
}

/** `name=1` and `name: 1`; `name:1` only in a row of several, since one is a line of a file or a port. */
function readPairs(shape: string, found: Map<string, number>): void {
  const all = [...shape.matchAll(PAIR)];
  const row = all.filter(([, separator]) => separator === ":").length > 1 || ROUND.test(shape);
  let before = 0;
  for (const match of all) {
    const [whole, separator, value] = match;
    const left = shape.slice(before, match.index);
    const isPair = separator !== ":" || (row && !left.includes("/") && !FILE.test(left));
    const name = isPair ? nameBefore(left, separator !== "=", before === 0) : undefined;
    before = match.index + whole.length;
    const at = shape.indexOf(value, match.index + separator.length);
    if (name && !found.has(name)) found.set(name, valueAt(shape, value, at));
  }
}

/** The name at the end of what precedes a separator: a word, or a few where they stand apart. */
function nameBefore(left: string, spaced: boolean, first: boolean): string | undefined {
  const name = NAME_AT_END.exec(left)?.[1];
  if (name === undefined || name.includes(PLACEHOLDER)) return undefined;
  if (spaced) {
    const cut = [...left.matchAll(NAME_BOUNDARY)].at(-1);
    const words = left.slice(cut ? cut.index + cut[0].length : 0).replace(/^[ '"-]+|[ '"-]+$/g, "").replace(LEVELS, "");
    if ((cut || first) && WORDS.test(words) && words.endsWith(name.split(/\s+/).at(-1)!)) return words.replace(/'+$/, "");
  }
  return name.replace(/'+$/, "");
}

/** What stands in columns: `| loss 8.1 | ppl 279`, and `Loss 6.9 (7.0)` between tabs. */
function readColumns(shape: string, found: Map<string, number>): void {
  if (shape.includes(`${PLACEHOLDER}%|`)) return;
  const piped = shape.split("|");
  const [rule, parts] = piped.length > 2 ? [PIPED, piped] : [AVERAGED, shape.split("\t")];
  let at = 0;
  for (const part of parts) {
    const [whole, name, value] = rule.exec(part) ?? [];
    if (name !== undefined && !name.includes(PLACEHOLDER) && !found.has(name.trim())) {
      const from = whole!.indexOf(value!, whole!.indexOf(name) + name.length);
      found.set(name.trim(), valueAt(shape, value!, at + from));
    }
    at += part.length + 1;
  }
}

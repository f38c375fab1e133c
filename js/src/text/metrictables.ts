/**
 * The numbers in tables of several lines. The rules are the same as in `cortex_jupyter/parsing/metric_tables.py`, which explains each;
 * tests/parsing/trainers.json tests both.
 */

import { type MetricValues, parseNumber } from "./metrics.ts";

const MAX_CHARS = 1000;
const RULE = /^\s*[-+|:=─-╿]{3,}\s*$/;
const DRAWN = /[-=─━═]{3}/;
const FRAMED = /^\s*[|│┃](.*)[|│┃]\s*$/;
const SIDE = /[|│┃]/;
const NAME = /^(?:#|[A-Za-z_][\p{L}\p{N}_./@%+()-]*(?: [\p{L}\p{N}_./@%+()-]+){0,4})$/u;
const BAR = /:\s+\d+%.*/;
const GAP = /\s{2,}|\t/;
/** Lines that may belong to a table. */
const LIKELY =
  /^(?:\[\w+\]:\s?)*\s*(?:[-|+=─-╿]|\d+(?:\/\d+)?(?:\s{2,}|\t)|(?:epochs?|(?:global_)?steps?|iter(?:ation)?s?|updates?|round|batch|class|(?:test |validat(?:e|ion) )?metrics?|e\s{2,}#)(?:\s{2,}|\t)|[a-z_][\w/.-]*\s{2,}[-+]?[\d.])/i;
const PREFIX = /^(?:\[\w+\]:\s?)*/;
const set = (words: string): Set<string> => new Set(words.split(","));
const STEPS = set("step,steps,global_step,total_timesteps,total_steps,timesteps,num_timesteps,#");
/** These count only where none of the others does. */
const ROUNDS = set("iter,iters,iteration,iterations,update,updates,nupdates,round,batch,episodes");
const EPOCHS = set("epoch,epochs,e");
const KEYS = set("metric,metrics,test metric,validate metric,validation metric");
const LEFT_OUT = set("remaining time,remaining,eta");

export interface TableRow extends MetricValues {
  /** Called when a later row of the table names the step. */
  onStep?: (step: number) => void;
}

const NEVER = (): void => {};

/** The tables of one stream of lines: it remembers the header that is above. */
class TableReader {
  #header: string[] = [];
  #framed = false;
  /** Whether no row has come since the last rule. */
  #isFresh = true;
  /** A row of words that is a header if a rule follows. */
  #candidate: string[] = [];
  #isOpen = false;
  #section = "";
  #step = Number.NaN;
  /** Rows of the table that wait for its step. */
  #waiting: TableRow[] = [];

  read(line: string): TableRow | null {
    if (line.length > MAX_CHARS) return null;
    if (RULE.test(line) && DRAWN.test(line)) {
      if (this.#candidate.length > 0) [this.#header, this.#framed, this.#candidate] = [this.#candidate, true, []];
      else if (!this.#isFresh && !this.#framed && KEYS.has(this.#first)) this.#header = [];
      this.#isOpen = this.#isFresh = true;
      this.#section = "";
      this.#step = Number.NaN;
      this.#waiting = [];
      return null;
    }
    const frame = FRAMED.exec(line);
    if (frame) return this.#readFramed(frame[1].split(SIDE));
    return this.#readOpen(line);
  }

  get #first(): string {
    return this.#header[0]?.toLowerCase() ?? "";
  }

  #readFramed(raw: string[]): TableRow | null {
    const cells = raw.map((cell) => cell.trim());
    if (cells.every((cell) => parseCell(cell) === undefined && NAME.test(cell))) {
      this.#candidate = this.#isFresh ? cells : [];
      this.#isFresh = false;
      return null;
    }
    this.#candidate = [];
    this.#isFresh = false;
    const row = this.#framed && cells.length === this.#header.length ? this.#readColumns(cells) : null;
    if (row || cells.length !== 2 || !this.#isOpen || !NAME.test(cells[0])) return row;
    const value = parseCell(cells[1]);
    if (value === undefined || (this.#framed && this.#header.length === 2 && !KEYS.has(this.#first))) {
      if (cells[1] === "" && cells[0].endsWith("/")) this.#section = cells[0];
      return null;
    }
    return this.#readPair((raw[0].startsWith("   ") ? this.#section : "") + cells[0], value);
  }

  /** Read a row of a table of names and values. */
  #readPair(name: string, value: number): TableRow | null {
    const last = name.slice(name.lastIndexOf("/") + 1).toLowerCase();
    const isEpoch = EPOCHS.has(last);
    if (STEPS.has(last) || ((ROUNDS.has(last) || isEpoch) && Number.isNaN(this.#step))) {
      for (const row of this.#waiting) {
        row.step = value;
        row.onStep?.(value);
      }
      this.#step = value;
      if (STEPS.has(last)) {
        this.#waiting = [];
        return null;
      }
    }
    const row: TableRow = { values: [[name, value]], step: this.#step, epoch: isEpoch ? value : Number.NaN, onStep: NEVER };
    this.#waiting.push(row);
    return row;
  }

  /** Read a row below a header with a step, or below `Test metric`. */
  #readColumns(cells: string[]): TableRow | null {
    const row: TableRow = { values: [], step: Number.NaN, epoch: Number.NaN };
    if (KEYS.has(this.#first)) {
      const values = cells.slice(1).map((cell, i) => [this.#header[i + 1], parseCell(cell)] as const).filter((pair): pair is readonly [string, number] => pair[1] !== undefined);
      row.values = values.map(([name, value]) => [values.length > 1 ? `${cells[0]}/${name}` : cells[0], value]);
      return values.length > 0 && NAME.test(cells[0]) ? row : null;
    }
    for (const [i, cell] of cells.entries()) {
      const name = this.#header[i];
      const low = name.toLowerCase();
      const isEpoch = EPOCHS.has(low);
      const isStep = STEPS.has(low) || ROUNDS.has(low);
      const value = parseCell(isEpoch || isStep ? cell.split("/")[0] : cell);
      if (value === undefined) {
        if (isEpoch || isStep) return null;
      } else if (isEpoch) {
        row.epoch = value;
        row.values.push(["epoch", value]);
      } else if (isStep) row.step = value;
      else if (!LEFT_OUT.has(low)) row.values.push([name, value]);
    }
    if (Number.isNaN(row.step)) row.step = row.epoch;
    return Number.isNaN(row.step) || row.values.length === 0 ? null : row;
  }

  /** Read a line of a table without a frame. */
  #readOpen(line: string): TableRow | null {
    const text = line.replace(BAR, "").trim();
    const columns = text.split(GAP);
    const low = columns[0].toLowerCase();
    const isHeader = columns.length > 1 && (STEPS.has(low) || ROUNDS.has(low) || EPOCHS.has(low) || KEYS.has(low) || low === "class");
    let row: TableRow | null = null;
    if (isHeader) {
      if (columns.every((column) => NAME.test(column.replace(/\)+$/, "")))) [this.#header, this.#framed] = [columns, false];
    } else if (!this.#framed && this.#header.length > 0) {
      const cells = KEYS.has(this.#first) ? columns : text.split(/\s+/);
      if (cells.length === this.#header.length) row = this.#first !== "class" ? this.#readColumns(cells) : low === "all" ? this.#readAll(cells) : null;
    }
    this.#isOpen = false;
    this.#isFresh = row === null;
    return row;
  }

  /** Read the row of YOLO for all classes: `Box(P  R  mAP50  mAP50-95)  Mask(P  R ...)` has groups of columns. */
  #readAll(cells: string[]): TableRow | null {
    const row: TableRow = { values: [], step: Number.NaN, epoch: Number.NaN };
    let group = "";
    let groups = 0;
    for (const [i, cell] of cells.entries()) {
      if (i === 0) continue;
      const column = this.#header[i];
      const bracket = column.indexOf("(");
      if (bracket >= 0) {
        group = column.slice(0, bracket);
        groups++;
      }
      const name = column.slice(bracket + 1).replace(/\)+$/, "");
      const value = parseCell(cell);
      if (value !== undefined) row.values.push([group && groups > 1 ? `${group} ${name}` : name, value]);
      if (column.endsWith(")")) group = "";
    }
    return row.values.length > 0 ? row : null;
  }
}

/** The tables of one source; each prefix of a launcher (`[default0]:`) begins a stream of lines of its own. */
export class MetricTables {
  readonly #readers = new Map<string, TableReader>();

  read(line: string): TableRow | null {
    if (!LIKELY.test(line)) return null;
    const prefix = PREFIX.exec(line)![0];
    let reader = this.#readers.get(prefix);
    if (reader === undefined) this.#readers.set(prefix, (reader = new TableReader()));
    return reader.read(line.slice(prefix.length));
  }
}

/** Return the number in a cell; undefined for anything else. */
function parseCell(cell: string): number | undefined {
  const text = cell.replace(/%$/, "");
  const special = /^([-+]?)(nan|inf)$/i.exec(text);
  if (special) return special[2].toLowerCase() === "nan" ? Number.NaN : special[1] === "-" ? -Infinity : Infinity;
  return parseNumber(text);
}

/**
 * The numbers that a line reports: `loss=0.31 step=400`, JSON, dicts, progress bars, tables. The rules are the same as in
 * `cortex_jupyter/parsing/metrics.py`, which explains each; tests/parsing/metrics.json tests both. The rules run once for each
 * shape of line, not for each line. A shape is the line with a placeholder for each number or id: `epoch · loss=·`.
 */

/** Stands for each number or id in a shape. */
const PLACEHOLDER = "\0";

const TOKEN = /(?:(?<![\w.])[-+](?=\d))?(?:[\w.]|(?<=\d[eE])[-+](?=\d))+/g;
const DIGIT = /\d/;
/** What follows a word with a digit that is a name: `f1=`, `"f1":`, `valid_1's`, `validation_0-rmse`; with few digits also `f1 =`. */
const PART_OF_NAME = /^(?:[=:]|["'][:s]|[-/@][A-Za-z])/;
const PART_OF_SHORT_NAME = /^ [=:]/;
const MAX_DIGITS_OF_SHORT_NAME = 2;

export interface Shape {
  text: string;
  tokens: string[];
}

function shapeOf(line: string): Shape {
  const tokens: string[] = [];
  const text = line.replace(TOKEN, (word, at: number) => {
    const end = at + word.length;
    // A full stop at the end is that of a sentence.
    const token = word.endsWith(".") ? word.slice(0, -1) : word;
    if (!DIGIT.test(token)) return word;
    const next = token === word ? line.slice(end, end + 2) : ".";
    if (line[at - 1] === "@" || (/^[A-Z_]/i.test(token) && isPartOfName(token, next))) return word;
    tokens.push(token);
    return PLACEHOLDER + word.slice(token.length);
  });
  return { text, tokens };
}

function isPartOfName(token: string, next: string): boolean {
  return PART_OF_NAME.test(next) || (PART_OF_SHORT_NAME.test(next) && token.replace(/[^0-9]/g, "").length <= MAX_DIGITS_OF_SHORT_NAME);
}

const NUMBER = /^([-+]?(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:([kMGT])|(?:it|[nmuµ]?s|sec|m|min|h|[KMGT]i?B|[KMG]i|B|b|x|pt|W|C))?$/;
const UNIT_FACTORS: Record<string, number> = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

/** Return the number in a token, without its unit; undefined if the token is not a number. */
export function parseNumber(token: string): number | undefined {
  const match = NUMBER.exec(token);
  return match === null ? undefined : Number(match[1].replaceAll(",", "")) * (match[2] ? UNIT_FACTORS[match[2]] : 1);
}

/** Names of fields that hold a time. */
const TIMES = new Set(["time", "t", "created", "msecs", "relativecreated", "asctime"]);
const PIECE = /\s*(?:([{}[\](),:])|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(-?)(\0|[A-Za-z]+))/y;
const MAX_DEPTH = 100;
/** A number in a tensor, as PyTorch prints it: `tensor(0.3, device='cuda:0')`. A tensor of several numbers has brackets. */
const TENSOR = /\btensor\((\0|[-+]?(?:nan|inf))((?:, \w+=[^()[\]]*)?)\)/g;
const TENSOR_REST = /\((\0|[-+]?(?:nan|inf))(?:, \w+=[^()[\]]*)?\)/y;

type Value = Dict | number | { mark: number } | { text: string; mark: number } | null;
type Dict = Map<string, Value>;

class Unreadable extends Error {}

/**
 * Read the numbers of a JSON object or a Python dict in a shape by their dotted names. The numbers in its message and in the text
 * after the object count too.
 */
function readObject(shape: string, result: Map<string, number>): void {
  const begin = shape.indexOf("{");
  const end = shape.lastIndexOf("}") + 1;
  try {
    const reader = new LiteralReader(shape.slice(begin, Math.max(begin, end)), tokensBefore(shape, begin));
    const doc = reader.value(0);
    if (!(doc instanceof Map) || !reader.atEnd) return;
    // fairseq writes numbers as strings into JSON, and Transformers since version 5 into dicts.
    collectNumbers(doc, "", reader.python, reader.python || COUNTERS.some((key) => doc.has(key)), result);
    readPart(shape.slice(end), tokensBefore(shape, end), result);
  } catch (reason) {
    if (!(reason instanceof Unreadable)) throw reason;
  }
}

/** Keys of objects with numbers as strings, as some trainers write them. */
const COUNTERS = ["epoch", "num_updates", "train_num_updates", "global_step"];
/** Keys of the message of a JSON line. */
const MESSAGES = new Set(["msg", "message", "event", "log", "text"]);
const ESCAPED: Record<string, string> = { n: "\n", t: "\t", r: "\r" };

/** Read the numbers in a part of a line with `first` tokens before it. */
function readPart(text: string, first: number, result: Map<string, number>): void {
  const part = new Map<string, number>();
  readText(text, part);
  for (const [name, value] of part) if (!result.has(name)) result.set(name, Number.isFinite(value) ? value - first : value);
}

/** A number with separators, such as `1,234.5`, takes several tokens. A reference holds this times the number of further tokens. */
const JOINED = 2 ** 20;

/** Return a reference to a token: -1 minus its index. Only values that are not finite are stored directly, so the two differ. */
const tokenRef = (place: number): number => -1 - place;

/** Return the number that a reference stands for; undefined if its tokens are no number. */
function referredNumber(tokens: string[], reference: number): number | undefined {
  const [first, more] = [(-1 - reference) % JOINED, Math.floor((-1 - reference) / JOINED)];
  return parseNumber(more > 0 ? tokens.slice(first, first + more + 1).join(",") : tokens[first]);
}

function collectNumbers(doc: Dict, prefix: string, python: boolean, texts: boolean, result: Map<string, number>): void {
  for (const [key, value] of doc) {
    // Skip names that contain a number, because they differ from line to line.
    if (key.includes(PLACEHOLDER)) continue;
    const name = prefix + key;
    if (value instanceof Map) collectNumbers(value, `${name}.`, python, texts, result);
    else if (value === null) continue;
    else if (typeof value === "object" && "text" in value && !(texts && value.text === PLACEHOLDER)) {
      if (MESSAGES.has(key) && value.text.includes(PLACEHOLDER)) readPart(value.text.replace(/\\(.)/g, (_, char: string) => ESCAPED[char] ?? char), value.mark, result);
    } else if (TIMES.has(key.toLowerCase()) || result.has(name)) continue;
    else if (typeof value === "number") result.set(name, python ? Number.NaN : value);
    else result.set(name, tokenRef(value.mark));
  }
}

class LiteralReader {
  /** Whether it has quotes or constants as in Python. */
  python = false;
  #at = 0;
  #mark: number;

  readonly #text: string;

  constructor(text: string, first: number) {
    this.#text = text;
    this.#mark = first;
  }

  get atEnd(): boolean {
    return this.#text.slice(this.#at).trim() === "";
  }

  #next(): RegExpExecArray {
    PIECE.lastIndex = this.#at;
    const match = PIECE.exec(this.#text);
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
    if (word === "tensor") return this.#tensor();
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

  /** Return the number in a tensor: `(0.3, device='cuda:0')`. */
  #tensor(): Value {
    TENSOR_REST.lastIndex = this.#at;
    const [whole, word] = TENSOR_REST.exec(this.#text) ?? [];
    if (whole === undefined) throw new Unreadable();
    const mark = this.#mark;
    this.python = true;
    this.#at = TENSOR_REST.lastIndex;
    this.#mark += whole.split(PLACEHOLDER).length - 1;
    return word === PLACEHOLDER ? { mark } : Number.NaN;
  }

  #dict(depth: number): Dict {
    const result: Dict = new Map();
    for (;;) {
      const key = this.#key();
      if (key === null) return result;
      if (this.#next()[1] !== ":") throw new Unreadable();
      result.set(key, this.value(depth + 1));
      const [, sign] = this.#next();
      if (sign === "}") return result;
      if (sign !== ",") throw new Unreadable();
    }
  }

  /** Return a key, null at the end of the dict, "" for a key that is not text. */
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
      const match = PIECE.exec(this.#text);
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

export interface MetricValues {
  values: [name: string, value: number][];
  /** NaN if the line names none. */
  step: number;
  epoch: number;
}

/** Indexes of the line's tokens, -1 for none. For values see `tokenRef`. */
interface ShapeReading {
  values: [name: string, value: number][];
  step: number;
  epoch: number;
  /** For a step that starts over in each epoch: the number of steps per epoch. */
  perEpoch: number;
  firstEpoch: number;
}

/** Python's \w includes letters of all scripts. */
const W = String.raw`\p{L}\p{N}_`;
const VALUE = String.raw`(\0(?:(?<=[=\s]\0)(?:,\0)+)?|[-+]?(?:[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)(?![${W}]))(?!%\|)%?(?![${W}\0]|[-:/.,]\0|-[${W}])`;
const NAME = `[A-Za-z_][${W}.@/%+'-]*`;
const re = (source: string, flags = ""): RegExp => new RegExp(source, `u${flags}`);

const PAIR = re(String.raw`(\s*=\s*|\s*:\s+|:)[\[\(]?${VALUE}`, "g");
const NAME_AT_END = re(String.raw`(?<![${W}.?&])(${NAME}(?:\[[${W}]+\])?)['"]?$`);
const UNIT_AT_END = re(String.raw`\s?\([${W}./%]{1,12}\)$`);
const NAME_BOUNDARY = re(String.raw`[|,;\t\[\]:(){}"=]|\s-\s|\s{2,}|\0`, "g");
const WORDS = re(String.raw`^${NAME}(?: [A-Za-z_(][${W}.@/%+')-]*){0,3}$`);
const PIPED = re(String.raw`^\s*([A-Za-z_][${W}.@/ ()-]*?)\s*[:=]?\s+${VALUE}\s*$`);
const AVERAGED = re(String.raw`^\s*([A-Za-z_][${W}.@/-]*)\s+${VALUE}\s*\(\s*\0\)`);
const LEVELS = /(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\s+/g;
const QUALIFIED = /(?:(?:train|training|val|valid|validation|test|dev|ev(?:al|aluation)|avg|average|mean|total|final|best|running|learning|grad|gradient|lm|global|moving|smoothed|min|max|top)\s){1,3}\S+$/i;
const STEPS = [
  String.raw`(?:[${W}]+[_/])?global[_ ]steps?|total_timesteps|num_updates`,
  "_?steps?",
  String.raw`iterations?|iter(?:\(train\))?|updates?|(?:train|current|optimizer)_steps?|iter_num`,
  "rounds?|batch|it",
  "episodes?|timesteps?",
].map((words) => re(String.raw`(?:(?<=\0\/)|(?<![${W}.\/]))(?:${words})["']?\s*[:=#]?\s*[\[\("']?\s*\0(?![${W}\0]|[-:.,]\0)`, "i"));
const EPOCH = re(String.raw`(?<![${W}.\/])epochs?(?:["']?\s*[:=#]?\s*[\[\("']?\s*\0(?![${W}\0%]|[-:.]\0)|\([${W}]+\)\s*\[\s*\0(?=\]\[))|(?<!\S)(?:train|test|val|valid):\s+\0(?=\s+\[\s*\0/)`, "i");
const BAR = /(?:^|[|\s[])\s*\0\/\0(?:\s+\[|\s+[━=>-]|\]|\s+-\s)|(?:^|[|[]|(?<![:=])\s)\s*\0\/\0\s*\(/;
const WITHIN = re(String.raw`(?<![${W}./])(?:(?:epoch(\(train\)|\s)\s*\[\s*\0\]|epoch:\s*\[\s*\0\]|train:\s+\0\s+)\[\s*\0/\0(?=\]|\s*\()|epoch\s+\0(\s*\|)\s*\0/\s*\0(?=\sbatches))`, "i");
const EVALUATION = /\((?:val|test)\)\s*\[\s*\0\//;
const ROUND = re(String.raw`(?:^\s*|[\]:\|>\)\-]\s*|\0\s+)\[\0\](?=(?: collection=[${W}]+)?\s+[A-Za-z_][^\0\[\]\{\}\|=:]{0,60}[=:]\s*[\[\(]?(?:\0|[-+]?(?:nan|inf)))`, "i");
const ROW = re(String.raw`^\s*\0:\t(?=[${W}]+: \0)`);
const NUMBERED = /^\s*\0 \|(?=\s*[A-Za-z])/;
const SEPARATED = /[,;|\t]|\s-\s|:\s|\]\s|\s{2,}/g;
const NAMED = re(String.raw`([A-Za-z_][${W}.@/%\-]*(?: [A-Za-z_][${W}.@/%\-]*){0,2})\s+${VALUE}(?:\s?\([^\(\)]*\))?(?=\s|\.?$)`, "y");
const PROSE = /(?<!\S)(?:an?|and|are|as|at|after|before|by|every|for|from|has|in|is|last|next|of|on|or|over|per|since|than|the|then|to|took|takes|until|was|were|with|waiting|waited|retry|retrying|retried|found|saved|using)(?!\S)/i;
const MEASURES = "loss|losses|acc|accuracy|acc1|acc5|ppl|perplexity|lr|auc|f1|rmse|mae|mse|nll|bleu|wer|cer|miou|logloss|reward|return|inertia|objective|recall|precision|psnr|ssim|fid|mfu|kl|elbo|entropy";
const MEASURE = new RegExp(`^(?:.*[ _/])?(?:${MEASURES})$`, "i");
const FILE = re(String.raw`(?<!\0)/|\.[${W}]{1,3}$`);
const EPOCHS = new Set(["epoch", "epochs"]);
/** Steps, and names of numbers that do not measure a result, such as positions, ids and times. */
const NOT_METRICS = new Set(
  ("step steps global_step trainer/global_step iteration iterations iter update updates num_updates global_steps _step micro_step train_step current_steps optimizer_step iter_num " +
    "total_timesteps timestep timesteps episode round batch it rank global_rank pid tid thread port seed line lineno level ts timestamp @timestamp date local_rank node_rank world_size " +
    "v_num eta remaining id uid gid version http").split(" "),
);
const MAY_HAVE_METRICS = new RegExp(
  String.raw`(?:[^0-9 \t][ \t]*[=:]|[A-Za-z_][0-9]{1,2}[ \t]*(?:=|:[ \t]))[\[( \t]*(?:tensor\()?[-+.]?(?:[0-9]|[nN]a[nN]|[iI]nf)|[eE][pP][oO][cC][hH]|\|[ \t]*[A-Za-z].* [0-9]|\t[A-Za-z].*[0-9]`,
);
const BARE = new RegExp(String.raw`(?:${MEASURES})[ \t]+[-+.]?(?:[0-9]|nan|inf)`, "i");
/** Rules that allow blanks in several places would try each way to share a wide gap among them. */
const WIDE = /(\s)\s{8,}/g;
const COLOUR = /\u001b\[[0-?]*[ -/]*[@-~]/g;
/** Longer lines are cut here: they report no metrics, and some rules look at each pair of spaces. */
const MAX_CHARS = 8192;
const MAX_SHAPES = 4000;
/** The same at the end of several words: `Booting worker with pid: 7`, `exit code: 137`. */
const ID_NAMES = new Set(["pid", "tid", "port", "id", "uid", "gid", "code", "attempt"]);
/** Names of exceptions: `KeyError: 3`. */
const EXCEPTION = /[a-z](?:Error|Exception|Warning)$/;
/** pytest, rich and pip show code and values of an error in such lines. */
const CODE_LINE = /^(?:\s*│|> |E {3})/;

const readingsByShape = new Map<string, ShapeReading | null>();

/** Return the metrics that a line reports. Each state of a redrawn progress bar counts. `tables` belong to the line's source. */
export function parseMetrics(text: string, tables?: { read(line: string): MetricValues | null }): MetricValues[] {
  const result: MetricValues[] = [];
  let line = text.slice(0, MAX_CHARS);
  if (line.includes("\u001b")) line = line.replace(COLOUR, "");
  if (line.includes(PLACEHOLDER)) line = line.replaceAll(PLACEHOLDER, " ");
  for (const state of line.includes("\r") ? line.split("\r") : [line]) {
    const row = tables?.read(state);
    if (row) result.push(row);
    if (row || !(MAY_HAVE_METRICS.test(state) || BARE.test(state))) continue;
    const { text: shape, tokens } = shapeOf(state.replace(WIDE, "$1$1"));
    let reading = readingsByShape.get(shape);
    if (reading === undefined) {
      if (readingsByShape.size > MAX_SHAPES) readingsByShape.clear();
      readingsByShape.set(shape, (reading = readShape(shape)));
    }
    if (reading === null) continue;
    const number = (place: number): number => (place < 0 ? Number.NaN : (parseNumber(tokens[place]) ?? Number.NaN));
    const values: MetricValues["values"] = [];
    for (const [name, value] of reading.values) {
      const said = Number.isFinite(value) ? referredNumber(tokens, value) : value;
      if (said !== undefined) values.push([name, said]);
    }
    const epoch = number(reading.epoch);
    const before = reading.perEpoch < 0 ? 0 : (epoch - reading.firstEpoch) * number(reading.perEpoch);
    if (values.length > 0) result.push({ values, step: number(reading.step) + before, epoch });
  }
  return result;
}

/** Return the metrics that lines of a shape report; null if they report none. */
function readShape(shape: string): ShapeReading | null {
  if (CODE_LINE.test(shape)) return null;
  const result = new Map<string, number>();
  if (shape.includes("{")) readObject(shape, result);
  if (result.size === 0) readText(shape, result);
  const step = [...STEPS, ROUND, ROW, NUMBERED].map((kind) => kind.exec(shape)).find((match) => match !== null);
  const within = step ? null : WITHIN.exec(shape);
  const perEpoch = within ? lastToken(shape, within) : -1;
  const stepAt = step ? lastToken(shape, step) : within ? perEpoch - 1 : -1;
  const epoch = EPOCH.exec(shape);
  const epochAt = epoch ? lastToken(shape, epoch) : -1;
  if (epoch && !result.has("epoch")) result.set("epoch", tokenRef(epochAt));
  const bar = BAR.exec(shape);
  const barAt = bar && !EVALUATION.test(shape.slice(0, bar.index + bar[0].length)) ? tokensBefore(shape, shape.indexOf(PLACEHOLDER, bar.index) + 1) - 1 : -1;
  const values = [...result].filter(([name, value]) => {
    const low = name.trim().toLowerCase();
    const end = low.split(/\s+/).at(-1)!;
    if (low === "" || (name !== "epoch" && (value === tokenRef(stepAt) || value === tokenRef(epochAt)))) return false;
    return !NOT_METRICS.has(name.toLowerCase()) && !ID_NAMES.has(end) && !EXCEPTION.test(name) && (name === "epoch" || !EPOCHS.has(end));
  });
  if (values.length === 0) return null;
  return { values, step: stepAt >= 0 ? stepAt : epochAt >= 0 ? epochAt : barAt, epoch: epochAt, perEpoch, firstEpoch: (within?.[1] ?? within?.[2]) ? 1 : 0 };
}

/** Return the number of tokens before an index. */
function tokensBefore(shape: string, end: number): number {
  let count = 0;
  for (let at = shape.indexOf(PLACEHOLDER); at >= 0 && at < end; at = shape.indexOf(PLACEHOLDER, at + 1)) count++;
  return count;
}

/** Return the index of a match's last token. */
function lastToken(shape: string, { index, 0: { length } }: RegExpExecArray): number {
  return tokensBefore(shape, index + length) - 1;
}

function valueAt(shape: string, text: string, at: number): number {
  if (text.startsWith(PLACEHOLDER)) return tokenRef(tokensBefore(shape, at) + JOINED * (text.split(",").length - 1));
  return /nan/i.test(text) ? Number.NaN : text.startsWith("-") ? -Infinity : Infinity;
}

/** Read the numbers of a text in every form except JSON objects and Python dicts. */
function readText(text: string, result: Map<string, number>): void {
  // Keep all placeholders, so that the next ones keep their indexes. Numbers in parentheses are no values.
  const shape = text.replace(TENSOR, (_, value: string, more: string) => value + (more.includes(PLACEHOLDER) ? ` (${more.replaceAll(/[^\0]/g, "")})` : ""));
  readPairs(shape, result);
  readColumns(shape, result);
  readBare(shape, result);
  // CatBoost's `total` changes its unit from line to line.
  if (ROW.test(shape)) result.delete("total");
}

/** Read `name=1` and `name: 1`. `name:1` counts only if there are several, because one is a line of a file or a port. */
function readPairs(shape: string, result: Map<string, number>): void {
  const all = [...shape.matchAll(PAIR)];
  const row = all.filter(([, separator]) => separator === ":").length > 1 || ROUND.test(shape);
  let before = 0;
  let name: string | undefined;
  for (const match of all) {
    const [whole, separator, value] = match;
    const left = shape.slice(before, match.index);
    const isPair = separator !== ":" || (row && !FILE.test(left));
    name = isPair ? nameBefore(left, separator !== "=", before === 0, name !== undefined) : undefined;
    before = match.index + whole.length;
    const at = shape.indexOf(value, match.index + separator.length);
    // `(3, 4)` is a shape.
    if (name && !result.has(name) && !(shape[at - 1] === "(" && shape[before] === ",")) result.set(name, valueAt(shape, value, at));
  }
}

/**
 * Return the name before a separator: a word, or a few words if blanks or values set them apart from the text before. `first`: no
 * separator comes before. `follows`: the value of another name does.
 */
function nameBefore(left: string, spaced: boolean, first: boolean, follows: boolean): string | undefined {
  const unit = spaced ? (UNIT_AT_END.exec(left)?.[0] ?? "") : "";
  const plain = left.slice(0, left.length - unit.length);
  const name = NAME_AT_END.exec(plain)?.[1];
  if (name === undefined || name.includes(PLACEHOLDER)) return undefined;
  const cut = [...plain.matchAll(NAME_BOUNDARY)].at(-1);
  let words = plain.slice(cut ? cut.index + cut[0].length : 0).replace(/^[ '"-]+|[ '"-]+$/g, "").replace(LEVELS, "");
  // The first word is a value: `phase=train loss=0.3`.
  if (cut?.[0] === "=") words = words.includes(" ") ? words.slice(words.indexOf(" ") + 1) : "";
  if (!WORDS.test(words) || !words.endsWith(name.split(/\s+/).at(-1)!)) words = name;
  else if (!(spaced && (cut || first)) && !(spaced && follows && !PROSE.test(words))) words = QUALIFIED.exec(words)?.[0] ?? name;
  return words.replace(/'+$/, "") + unit;
}

/**
 * Read values that follow their names without a sign: `iter 0: loss 10.9, time 31ms`. They count after a step, or with the name of a
 * usual measure; and a part between commas counts only as a whole.
 */
function readBare(shape: string, result: Map<string, number>): void {
  if (shape.includes(`${PLACEHOLDER}%|`)) return;
  const labels = [...STEPS, EPOCH].map((rule) => rule.exec(shape)).filter((match) => match !== null);
  const begin = Math.max(0, ...labels.map(({ index, 0: { length } }) => index + length));
  const found: [name: string, value: number][] = [];
  let at = begin;
  SEPARATED.lastIndex = begin;
  for (let done = false; !done; ) {
    const cut = SEPARATED.exec(shape);
    done = cut === null;
    const part = shape.slice(at, cut?.index);
    const pairs: typeof found = [];
    let end = part.search(/\S|$/);
    for (;;) {
      NAMED.lastIndex = end;
      const match = NAMED.exec(part);
      if (match === null) break;
      pairs.push([match[1], valueAt(shape, match[2], at + part.indexOf(match[2], end + match[1].length))]);
      end = NAMED.lastIndex + part.slice(NAMED.lastIndex).search(/\S|$/);
    }
    if (/^\.?$/.test(part.slice(end).trim()) && !pairs.some(([name]) => PROSE.test(name))) found.push(...pairs);
    if (cut) at = cut.index + cut[0].length;
  }
  if (!(labels.length > 0 || found.length > 1 || found[0]?.[0].includes(" ")) || !found.some(([name]) => MEASURE.test(name))) return;
  for (const [name, value] of found) if (!result.has(name)) result.set(name, value);
}

/**
 * Read columns: `| loss 8.1 | ppl 279`, and `Loss 6.9 (7.0)` between tabs.
 */
function readColumns(shape: string, result: Map<string, number>): void {
  if (shape.includes(`${PLACEHOLDER}%|`)) return;
  const piped = shape.split("|");
  const [rule, parts] = piped.length > 2 ? [PIPED, piped] : [AVERAGED, shape.split("\t")];
  let at = 0;
  for (const part of parts) {
    const [whole, name, value] = rule.exec(part) ?? [];
    if (name !== undefined && !name.includes(PLACEHOLDER) && !result.has(name.trim())) {
      const from = whole!.indexOf(value!, whole!.indexOf(name) + name.length);
      result.set(name.trim(), valueAt(shape, value!, at + from));
    }
    at += part.length + 1;
  }
}

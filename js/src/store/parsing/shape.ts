/** What of a line stays the same when its numbers and ids change: `epoch 3 loss=0.25` is `epoch · loss=·`. As analysis/shapes.py has it. */

/** Stands in a shape for each number or id. */
export const PLACEHOLDER = "\0";

const TOKEN = /(?:(?<![\w.])[-+](?=\d))?(?:[\w.]|(?<=\d[eE])[-+](?=\d))+/g;
const DIGIT = /\d/;
/** A word with a digit that is a name: `f1=`, `"f1":`, `valid_1's`, `validation_0-rmse`. */
const PART_OF_NAME = /^(?:[=:]|["'][:s]|[-/@][A-Za-z])/;

export interface Shape {
  text: string;
  tokens: string[];
}

export function shapeOf(line: string): Shape {
  const tokens: string[] = [];
  const text = line.replace(TOKEN, (word, at: number) => {
    const end = at + word.length;
    // The full stop of a sentence.
    const token = word.endsWith(".") ? word.slice(0, -1) : word;
    if (!DIGIT.test(token)) return word;
    const next = token === word ? line.slice(end, end + 2) : ".";
    if (line[at - 1] === "@" || (/^[A-Z_]/i.test(token) && PART_OF_NAME.test(next))) return word;
    tokens.push(token);
    return PLACEHOLDER + word.slice(token.length);
  });
  return { text, tokens };
}

const NUMBER = /^([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:([kMGT])|(?:it|[nmuµ]?s|sec|m|min|h|[KMGT]i?B|[KMG]i|B|b|x|pt|W|C))?$/;
const UNIT_FACTORS: Record<string, number> = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

/** The number that a token is, its unit left off; undefined where it is none. */
export function parseNumber(token: string): number | undefined {
  const match = NUMBER.exec(token);
  return match === null ? undefined : Number(match[1]) * (match[2] ? UNIT_FACTORS[match[2]] : 1);
}

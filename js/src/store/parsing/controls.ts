/** What a text holds that is not seen: escape sequences, control codes, letters without a shape or that turn the line around. */

// CSI, then OSC and the other string sequences, then two-character escapes; also their one-byte C1 forms.
export const ESCAPES = /(?:\u001b\[|\u009b)([0-?]*)([ -/]*)([@-~]?)|(?:\u001b[\]PX^_]|[\u0090\u0098\u009d-\u009f])([^\u0007\u001b\u009c]*)(?:\u0007|\u001b\\|\u009c)?|\u001b[ -/]*[0-~]?/g;

// Joiners belong between letters of the scripts and the emoji that need them; elsewhere they only hide something.
const HIDDEN = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]|(?<![^\u0000-\u00ff])[\u200c\u200d]|[\u200c\u200d](?![^\u0000-\u00ff])|\u034f|\udb40[\udc00-\udfff]/;
const ALL_HIDDEN = new RegExp(HIDDEN, "g");

const C0 = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");
const NAMES: Record<number, string> = {
  0x7f: "DEL", 0xad: "SHY", 0x61c: "ALM", 0x200b: "ZWSP", 0x200c: "ZWNJ", 0x200d: "ZWJ", 0x200e: "LRM", 0x200f: "RLM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF",
  0x202d: "LRO", 0x202e: "RLO", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xfeff: "BOM",
};

export function stripEscapes(text: string): string {
  return text.replace(ESCAPES, "");
}

export function hasHidden(text: string): boolean {
  return HIDDEN.test(text);
}

/** The sign by which such a letter is shown. */
function controlName(letter: string): string {
  const point = letter.codePointAt(0)!;
  return C0[point] ?? NAMES[point] ?? `U+${point.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Writes a text with signs in place of what is hidden; `at` is told where each sign is. */
export function showHidden(text: string, at?: (from: number, to: number) => void): string {
  if (!HIDDEN.test(text)) return text;
  let out = "";
  let last = 0;
  for (const found of text.matchAll(ALL_HIDDEN)) {
    out += text.slice(last, found.index);
    const name = controlName(found[0]);
    at?.(out.length, out.length + name.length);
    out += name;
    last = found.index + found[0].length;
  }
  return out + text.slice(last);
}

/** A text that is shown as it is, over several lines: without escape sequences, nothing hidden. */
export function visibleText(text: string): string {
  return stripEscapes(text).split("\n").map((line) => showHidden(line.replace(/\r$/, ""))).join("\n");
}

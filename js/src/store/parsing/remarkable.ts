/** One look that most lines do not pass: what may belong to others. */

/** First letters of a line that may begin a block, and what is in all others and in bars: one look that most lines do not pass. */
const FIRST = /^[pfuSgtF_]|^\s+(?:at |frame #)|^frame #/;
const SIGN = /[%━[\u001b]|Traceback/;

/** Whether a line may begin a block, or be a bar. */
export function isRemarkable(text: string): boolean {
  return FIRST.test(text) || SIGN.test(text);
}

/** Whether a line is worth a closer look. */
export function isBar(text: string): boolean {
  return text.includes("%|") || text.includes("━━") || text.includes(" [=") || text.includes(" [>") || text.includes("it [") || text.includes("%] in ");
}

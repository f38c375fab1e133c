/** Level of a line. One pass of one regex over the head of the line: a level further in is part of the message. */

import { strip } from "./ansi.ts";

export const LEVELS = ["", "trace", "debug", "info", "warning", "error", "critical"] as const;
export const WARNING = 4;
export const ERROR = 5;
/** What a line without a level counts as, when levels are compared: prints of a training loop are information. */
export const UNKNOWN_AS = 3;

const HEAD = 400;
const KLOG = { I: 3, W: 4, E: 5, F: 6 } as const;
const RANK: Record<string, number> = {
  trace: 1, verbose: 1, debug: 2, dbg: 2, info: 3, information: 3, notice: 3, warn: 4, warning: 4, wrn: 4,
  error: 5, err: 5, severe: 5, critical: 6, crit: 6, fatal: 6, panic: 6, emerg: 6, alert: 6,
};

const PATTERN = new RegExp(
  [
    String.raw`^([IWEF])\d{4} \d\d:`,
    String.raw`["'\s,{](?:level|levelname|severity|lvl|log\.level)["']?\s*[=:]\s*["']?([A-Za-z]+)`,
    String.raw`^(?:level|lvl|severity)=["']?([A-Za-z]+)`,
    String.raw`\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|SEVERE|CRITICAL|FATAL|PANIC)\b`,
    String.raw`(?:^|[\s[(<|])(trace|debug|info|notice|warn|warning|error|err|critical|fatal|panic|Warning|Error|Info|Debug|Fatal)(?=[\])>|:])`,
    String.raw`(^Traceback \(most recent call last|^[\w.]*(?:Error|Exception|Interrupt|Exit)\b(?=:|$))`,
    String.raw`\b([A-Z]\w*Warning)(?=:)`,
  ].join("|"),
);

export function levelOf(text: string): number {
  const head = text.length > HEAD ? text.slice(0, HEAD) : text;
  const found = PATTERN.exec(head.includes("\u001b") ? strip(head) : head);
  if (found === null) return 0;
  if (found[1] !== undefined) return KLOG[found[1] as keyof typeof KLOG];
  if (found[6] !== undefined) return ERROR;
  if (found[7] !== undefined) return WARNING;
  return RANK[(found[2] ?? found[3] ?? found[4] ?? found[5]).toLowerCase()] ?? 0;
}

export function rankOf(level: string): number {
  return RANK[level.toLowerCase()] ?? 0;
}

/** Numbers and times in words. */

export { grouped } from "../store/notice.ts";

function two(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}

export function clock(ms: number): string {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export function shortClock(ms: number, seconds: boolean): string {
  return clock(ms).slice(0, seconds ? 8 : 5);
}

export function ago(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes < 10 && seconds % 60 ? `${minutes} m ${seconds % 60} s` : `${minutes} m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} m` : `${Math.floor(hours / 24)} d`;
}

/** 8123 as "8.1k": for the narrow side list. */
export function brief(value: number): string {
  if (value < 1000) return String(value);
  if (value < 999_500) return `${(value / 1000).toFixed(value < 9950 ? 1 : 0)}k`;
  return `${(value / 1e6).toFixed(value < 9.95e6 ? 1 : 0)}M`;
}

export function zone(): string {
  const minutes = -new Date().getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes > 0 ? "+" : "−"}${Math.floor(Math.abs(minutes) / 60)}${rest ? `:${two(rest)}` : ""}`;
}

/** `namespace:kind/name` in its parts. */
export function taskParts(task: string): { namespace: string; kind: string; name: string } {
  const [, namespace, kind, name] = /^([^:]*):([^/]*)\/(.*)$/.exec(task) ?? ["", "default", "job", task];
  return { namespace, kind, name };
}

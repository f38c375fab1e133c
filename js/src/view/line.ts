/** A row as DOM: spans and text, nothing else. */

import type { StyleRun } from "../types/rows.ts";
import { h } from "./dom.ts";

/** The terminal's colours as hues, their lightness and strength being the theme's; black, grey and white as the theme's inks. */
const HUES = [0, 25, 145, 85, 255, 325, 205];
const INKS: Record<number, string> = { 0: "var(--ink)", 7: "var(--dim)", 8: "var(--faint)", 15: "var(--ink)" };
const RUN_CLASSES: Record<string, string> = { n: "cl-n", k: "cl-k", w: "cl-lv", e: "cl-le", x: "cl-ctl" };

/** A background is a tint of its colour, so that text of any colour stays readable on it. */
function paint(element: HTMLElement, ink: boolean, value: string, turned: boolean): void {
  const number = Number(value);
  const [name, kind] = ink ? ["--c", value.startsWith("#") ? "cl-rgb" : "cl-fg"] : ["--bg", "cl-bg"];
  if (INKS[number] && ink) element.style.color = turned ? "" : INKS[number];
  else {
    const hue = String(HUES[number % 8]);
    const colour = value.startsWith("#") ? `rgb(${value.slice(1)})` : (INKS[number] ?? (ink ? hue : `oklch(from var(--base) l c ${hue})`));
    element.style.setProperty(name, colour);
    element.classList.add(kind);
  }
}

function runElement(run: string): HTMLElement {
  if (!run.startsWith("a ")) return h("span", { class: RUN_CLASSES[run] ?? "" });
  const words = run.slice(2).split(" ");
  const link = words.find((word) => word.startsWith("l"))?.slice(1);
  // Turned round the colour is the paper and the paper the ink; on a paper of its own a text is in the ink, or many pairs could not be read.
  const turned = words.includes("v");
  const own = !turned && words.some((word) => /^g./.test(word));
  const element = link ? h("a", { href: link, target: "_blank", rel: "noopener noreferrer", class: "cl-a" }) : h("span", { class: "cl-a" });
  for (const word of words) {
    const value = word.slice(1);
    if (value !== "" && word[0] === "f" && own) continue;
    if (value !== "" && (word[0] === "f" || (word[0] === "g" && !turned))) paint(element, word[0] === "f", value, turned);
    else if (word[0] !== "l") element.classList.add(`cl-a${word[0]}`);
  }
  return element;
}

/** Text in styles, with marks laid over them. */
export function writeRuns(target: HTMLElement, text: string, runs: StyleRun[], marks: number[]): void {
  let mark = 0;
  const write = (parent: Node, from: number, to: number): void => {
    let at = from;
    while (at < to) {
      while (mark < marks.length && marks[mark + 1] <= at) mark += 2;
      const start = mark < marks.length ? marks[mark] : to;
      if (start > at) {
        const end = Math.min(start, to);
        parent.appendChild(document.createTextNode(text.slice(at, end)));
        at = end;
      } else {
        const end = Math.min(marks[mark + 1], to);
        parent.appendChild(h("mark", {}, text.slice(at, end)));
        at = end;
      }
    }
  };
  let at = 0;
  let style = "";
  for (const [next, name] of [...runs, [text.length, ""] as StyleRun]) {
    const end = Math.min(next, text.length);
    if (end > at) {
      const parent = style === "" ? target : runElement(style);
      write(parent, at, end);
      if (parent !== target) target.append(parent);
    }
    at = Math.max(at, end);
    style = name;
  }
}

/** `{1700000000000}` in a notice is a time to be written in the reader's zone. */
export function formatNotice(text: string, clockOf: (ms: number) => string): string {
  return text.replace(/\{(\d+(?:\.\d+)?)\}/g, (_all, ms: string) => clockOf(Number(ms)));
}

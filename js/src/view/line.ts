/** A row as DOM: spans and text, nothing else. */

import type { Row, Run } from "../types.ts";
import { h } from "./dom.ts";

const ANSI = "krgybmcwKRGYBMCW";
const WORDS: Record<string, string> = { n: "cl-n", k: "cl-k", w: "cl-lv" };

/** Colours written as numbers are kept readable: the style sheet fixes their lightness, `--c` carries the rest. */
function styled(run: string): HTMLElement {
  if (!run.startsWith("a ")) return h("span", { class: WORDS[run] ?? "" });
  const words = run.slice(2).split(" ");
  const link = words.find((word) => word.startsWith("l"))?.slice(1);
  const element = link ? h("a", { href: link, target: "_blank", rel: "noopener noreferrer", class: "cl-a" }) : h("span", { class: "cl-a" });
  for (const word of words) {
    const value = word.slice(1);
    if (word[0] === "f" || word[0] === "g") {
      if (value.startsWith("#")) {
        element.style.setProperty(word[0] === "f" ? "--c" : "--bg", `rgb(${value.slice(1)})`);
        element.classList.add(word[0] === "f" ? "cl-rgb" : "cl-bg");
      } else if (value === "") element.classList.add("cl-af");
      else {
        element.style.setProperty(word[0] === "f" ? "--c" : "--bg", `var(--ansi-${ANSI[Number(value)]})`);
        element.classList.add(word[0] === "f" ? "cl-fg" : "cl-bg");
      }
    } else if (word[0] !== "l") element.classList.add(`cl-a${word[0]}`);
  }
  return element;
}

/** Text in styles, with marks laid over them. */
export function fill(target: HTMLElement, text: string, runs: Run[], marks: number[]): void {
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
  for (const [next, name] of [...runs, [text.length, ""] as Run]) {
    const end = Math.min(next, text.length);
    if (end > at) {
      const parent = style === "" ? target : styled(style);
      write(parent, at, end);
      if (parent !== target) target.append(parent);
    }
    at = Math.max(at, end);
    style = name;
  }
}

/** `{1700000000000}` in a notice is a time to be written in the reader's zone. */
export function noticeWords(row: Row, clockOf: (ms: number) => string): string {
  return row.text.replace(/\{(\d+(?:\.\d+)?)\}/g, (_all, ms: string) => clockOf(Number(ms)));
}

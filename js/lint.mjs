// Log lines are hostile text. The ways to turn text into markup or code must not occur at all, not even in a comment.
import { readdir, readFile } from "node:fs/promises";

const FORBIDDEN = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|createContextualFragment/;
const files = (await readdir(import.meta.dirname, { recursive: true })).filter((file) => file.endsWith(".ts") && !file.includes("node_modules"));
for (const file of files) {
  const lines = (await readFile(`${import.meta.dirname}/${file}`, "utf8")).split("\n");
  for (const [index, line] of lines.entries()) {
    if (FORBIDDEN.test(line)) {
      process.stderr.write(`js/${file}:${index + 1}: ${FORBIDDEN.exec(line)[0]} is not allowed: use textContent and DOM nodes\n`);
      process.exitCode = 1;
    }
  }
}

/** A JSON value as a tree that opens: plain nested details, each text node as text. */

import { h } from "./dom.ts";

const MAX_CHILDREN = 500;

function leaf(value: unknown): HTMLElement {
  if (typeof value === "number" || typeof value === "boolean") return h("span", { class: "cl-n" }, String(value));
  if (value === null) return h("span", { class: "cl-k" }, "null");
  return h("span", {}, String(value));
}

export function tree(value: unknown, key = "", depth = 0): HTMLElement {
  const label = key === "" ? null : h("span", { class: "cl-k" }, `${key}: `);
  if (typeof value !== "object" || value === null) return h("div", { class: "cl-leaf" }, label, leaf(value));
  const entries = Object.entries(value);
  if (depth === 0) return h("div", { class: "cl-tree" }, ...entries.slice(0, MAX_CHILDREN).map(([name, inner]) => tree(inner, name, 1)));
  const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  const details = h("details", depth < 3 && entries.length <= 20 ? { open: true } : {}, h("summary", {}, label, h("span", { class: "cl-k" }, size)));
  for (const [name, inner] of entries.slice(0, MAX_CHILDREN)) details.append(tree(inner, name, depth + 1));
  if (entries.length > MAX_CHILDREN) details.append(h("div", { class: "cl-k" }, `… ${entries.length - MAX_CHILDREN} more`));
  return details;
}

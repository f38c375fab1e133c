/**
 * What hosts load as the widget: the viewer itself, packed. It is copied into every model, over the comm and into saved
 * notebooks, so it is a third of its size there; and each model has a module instance of its own, so it is unpacked and
 * parsed once per page, not once per widget.
 */

import packed from "packed:./widget.ts";
import type { Widget } from "./widget.ts";

const page = globalThis as unknown as Record<symbol, Promise<() => Widget> | undefined>;
const key = Symbol.for(`cortex-jupyter/code/${packed.length}/${packed.slice(-64)}`);

async function unpack(): Promise<() => Widget> {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(stream).arrayBuffer();
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  try {
    return ((await import(url)) as { default: () => Widget }).default;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Errors of a widget are seen in the console only, unless it draws them. */
function broken(reason: unknown): Widget {
  console.error("[cortex-jupyter]", reason);
  return {
    initialize: () => () => {},
    render({ el }) {
      el.textContent = `The log viewer could not start: ${String(reason)}`;
      return () => {};
    },
  };
}

export default async (): Promise<Widget> => {
  try {
    return (await (page[key] ??= unpack()))();
  } catch (reason) {
    return broken(reason);
  }
};

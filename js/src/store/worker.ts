/** The store's code as it runs: by itself in a worker; the page that may not start one imports it and calls `connect`. */

import type { FromStore, ToStore } from "../types/messages.ts";
import { Engine } from "./engine.ts";

export function connect(post: (message: FromStore) => void): (message: ToStore) => void {
  const engine = new Engine(post, false);
  return (message) => engine.receive(message);
}

interface Scope {
  addEventListener(type: "message", listener: (event: MessageEvent<ToStore>) => void): void;
  postMessage(message: FromStore): void;
}

if (typeof document === "undefined" && typeof self !== "undefined" && "importScripts" in self) {
  const scope = self as unknown as Scope;
  const engine = new Engine((message) => scope.postMessage(message), true);
  scope.addEventListener("message", ({ data }) => engine.receive(data));
  scope.postMessage({ op: "ready" });
}

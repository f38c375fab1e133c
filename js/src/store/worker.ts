/** The store's code as it runs: by itself in a worker; the page that may not start one imports it and calls `connect`. */

import type { FromStore, ToStore } from "../types/messages.ts";
import { Origins } from "./origins.ts";

export function connect(post: (message: FromStore) => void): (message: ToStore) => void {
  const origins = new Origins(post, false);
  return (message) => origins.receive(message);
}

interface Scope {
  addEventListener(type: "message", listener: (event: MessageEvent<ToStore>) => void): void;
  postMessage(message: FromStore): void;
}

if (typeof document === "undefined" && typeof self !== "undefined" && "importScripts" in self) {
  const scope = self as unknown as Scope;
  const origins = new Origins((message) => scope.postMessage(message), true);
  scope.addEventListener("message", ({ data }) => origins.receive(data));
  scope.postMessage({ op: "ready" });
}

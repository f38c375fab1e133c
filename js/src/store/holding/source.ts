/** One run of one container, as far as it is known here. */

import type { SourceKind } from "../../types/events.ts";

export interface Source {
  pod: string;
  container: string;
  kind: SourceKind;
  run: number;
  /** That are here. */
  lines: number;
  /** Of the recording, where the server has counted: up to its outline, and those that came later. */
  outlineLines: number;
  linesSince: number;
  firstKey: number;
  lastKey: number;
  state: "waiting" | "running" | "ended";
  exit: number | null;
  node: string;
  /** When it started and ended, ms; 0 where that is not known. */
  startedAt: number;
  endedAt: number;
  /** What the kubelet or the container says of its end. */
  endMessage: string;
  /** The completion index of its pod. */
  index: number | null;
}

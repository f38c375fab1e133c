/** How far each pod of a task has come: read from the notices of its containers' starts and ends. */

import type { StatusEvent } from "../../types/events.ts";
import type { PodPhases } from "../../types/summary.ts";
import { fromNs } from "../parsing/time.ts";

export class PodTimeline {
  readonly pods = new Map<string, PodPhases>();

  readonly #seen = new Set<number>();

  add({ seq, notice, source, time, exit_code: exit, created, scheduled, inits }: StatusEvent): void {
    if (source === undefined || time === undefined || (notice !== "created" && notice !== "started" && notice !== "ended")) return;
    // The outline of a recording and its stream both tell of it.
    if (seq === undefined || this.#seen.has(seq)) return;
    this.#seen.add(seq);
    const at = fromNs(time);
    let pod = this.pods.get(source.pod);
    if (pod === undefined) this.pods.set(source.pod, (pod = { pod: source.pod, created: 0, scheduled: 0, init: 0, initEnd: 0, inits: 0, initsDone: 0, main: 0, isLate: false, end: 0, exit: null }));
    if (created) pod.created = fromNs(created);
    if (scheduled) pod.scheduled = fromNs(scheduled);
    if (inits) pod.inits = inits;
    if (notice === "created") return; // it could not be started
    const first = (one: number): number => (one === 0 ? at : Math.min(one, at));
    if (source.kind === "init") {
      if (notice === "started") pod.init = first(pod.init);
      else {
        pod.initsDone++;
        pod.initEnd = Math.max(pod.initEnd, at);
      }
    } else if ((source.kind ?? "main") === "main") {
      if (notice === "started") {
        if (pod.main === 0 || at < pod.main) pod.isLate = (source.run ?? 0) > 0;
        pod.main = first(pod.main);
        // It runs again.
        if (at >= pod.end) [pod.end, pod.exit] = [0, null];
      } else {
        pod.end = Math.max(pod.end, at);
        pod.exit = Math.max(pod.exit ?? 0, exit ?? 0);
      }
    }
  }
}

/** The containers of a view with their runs, which are the sources. */

import type { ContainerSummary } from "../protocol/update.ts";
import { sourceColour } from "../text/colours.ts";
import { NO_SOURCE } from "./lines.ts";
import type { Selection } from "./selection.ts";

/** Compute the values of a container from its runs. */
function summarize(group: ContainerSummary): void {
  const { runs } = group;
  runs.sort((a, b) => a.run - b.run);
  const newest = runs.at(-1);
  for (const one of runs) if (one !== newest) one.state = "ended";
  group.on = runs.some(({ on }) => on);
  group.lines = runs.reduce((sum, { lines }) => sum + lines, 0);
  group.lastLineAt = Math.max(0, ...runs.map(({ lastLineAt }) => lastLineAt));
  if (newest) [group.state, group.exit] = [newest.state, newest.exit];
}

export class SourceGroups {
  /** Whether a container has come since the last summary. */
  hasNew = false;
  readonly #groups: ContainerSummary[] = [];
  readonly #groupIds = new Map<string, number>();
  readonly #groupOf: number[][] = [];

  readonly #selection: Selection;

  constructor(selection: Selection) {
    this.#selection = selection;
  }

  /** Return the index of a row's container; -1 if the row has no source. */
  groupOf(slot: number, row: number): number {
    const source = this.#selection.stores[slot].source[row];
    return source === NO_SOURCE ? -1 : this.#group(slot, source);
  }

  #group(slot: number, source: number): number {
    const known = (this.#groupOf[slot] ??= [])[source];
    if (known !== undefined) return known;
    const store = this.#selection.stores[slot];
    const { pod, container, kind, role, rank, attempt } = store.sources[source];
    const key = this.#selection.containerKeyOf(store, source);
    let group = this.#groupIds.get(key);
    if (group === undefined) {
      group = this.#groups.length;
      this.#groupIds.set(key, group);
      this.hasNew = true;
      this.#groups.push({ key, task: store.task, pod, container, kind, role, rank, attempt, mainContainer: "", colour: 0, on: true, runs: [], index: null, lines: 0, errors: 0, state: "running", exit: null, node: "", lastLineAt: 0 });
    }
    this.#groupOf[slot][source] = group;
    return group;
  }

  summaries(): ContainerSummary[] {
    for (const group of this.#groups) [group.runs, group.errors] = [[], 0];
    for (const [slot, store] of this.#selection.stores.entries()) {
      for (const [id, source] of store.sources.entries()) {
        const { run, lines, errors, outlineLines, linesSince, state, exit, endMessage, startedAt, endedAt, lastKey, kind, role, rank, attempt, node, index, mainContainer } = source;
        const group = this.#groups[this.#group(slot, id)];
        group.runs.push({ key: store.runKey(source), run, on: this.#selection.isSourceShown(slot, id), lines: outlineLines > 0 ? Math.max(lines, outlineLines + linesSince) : lines, state, exit, endMessage, startedAt, endedAt, lastLineAt: Math.max(0, lastKey) });
        group.kind = kind;
        group.errors += errors;
        if (role) Object.assign(group, { role, rank, attempt });
        group.colour = sourceColour(group, store.task, slot);
        group.node = node || group.node;
        group.index = index ?? group.index;
        group.mainContainer = mainContainer || group.mainContainer;
      }
    }
    for (const group of this.#groups) summarize(group);
    return this.#groups;
  }
}

/** Which sources and runs are switched off, as `Filter.off` has it, and what that is after each choice. */

import type { SourceSummary } from "../types/summary.ts";

export class SourceSwitches {
  constructor(private readonly sources: SourceSummary[]) {}

  /** Sources that are off as a whole, so with the runs to come; else the single runs. */
  get off(): Set<string> {
    return new Set(this.sources.flatMap(({ on, key, runs }) => (on ? runs.filter((one) => !one.on).map((one) => one.key) : [key])));
  }

  /** Sources on or off, with all their runs. */
  set(keys: string[], on: boolean): string[] {
    const off = this.off;
    for (const { key, runs } of this.sources.filter((source) => keys.includes(source.key))) {
      for (const one of runs) off.delete(one.key);
      if (on) off.delete(key);
      else off.add(key);
    }
    return [...off];
  }

  toggledRun(source: string, key: string): string[] {
    const { on = false, runs = [] } = this.sources.find((one) => one.key === source) ?? {};
    const off = this.off;
    if (!on) {
      off.delete(source);
      for (const one of runs) off.add(one.key);
    }
    if (!off.delete(key)) off.add(key);
    return [...off];
  }

  /** Only these; all again where they were the only ones. */
  only(keys: string[]): string[] {
    return this.#orAll(this.sources.filter(({ key }) => !keys.includes(key)).map(({ key }) => key));
  }

  onlyRun(source: string, key: string): string[] {
    const others = this.sources.flatMap((one) => (one.key === source ? one.runs.filter((run) => run.key !== key).map((run) => run.key) : [one.key]));
    return this.#orAll(others);
  }

  #orAll(others: string[]): string[] {
    const { off } = this;
    return off.size === others.length && others.every((key) => off.has(key)) ? [] : others;
  }
}

/**
 * Filters that a user saved under a name. The browser keeps them for each Jupyter server, so all viewers of a user there have the same ones: in
 * notebooks and in pages of their own.
 */

import type { Filter } from "../protocol/requests.ts";
import { type Change, fromPlain, type PlainSettings, type Settings } from "../client/settings.ts";
import { describeTerm, filterTerms } from "../text/query.ts";
import { readPageConfig } from "../transport/http.ts";
import { describeLevels } from "./filterbar.ts";
import { describeCondition } from "./filterhints.ts";

/** The saved parts of a filter: texts, fields, levels and streams. Window and sources belong to a task. */
type Parts = Pick<Filter, "include" | "exclude" | "where" | "level" | "stream">;

export interface SavedFilter extends Parts {
  name: string;
}

function partsOf(filter: Filter): Parts {
  const { include, exclude, where, level } = filterTerms(filter);
  return { include, exclude, where, level, stream: filter.stream };
}

export class SavedFilters {
  readonly #settings: () => Settings;
  readonly #change: (change: Change) => void;

  constructor(settings: () => Settings, change: (change: Change) => void) {
    this.#settings = settings;
    this.#change = change;
  }

  get #key(): string {
    return `cortex-jupyter-saved-filters ${readPageConfig().base}`;
  }

  /** The viewer's filter; null if there is nothing to save. The text being typed is part of it. */
  get present(): Parts | null {
    const parts = partsOf(this.#settings().filter);
    return Object.values(parts).some(({ length }) => length > 0) ? parts : null;
  }

  /** Return the saved filters. The stored text may come from another version, or from another program. */
  read(): SavedFilter[] {
    try {
      const stored = JSON.parse(localStorage.getItem(this.#key) ?? "[]") as unknown[];
      return stored.flatMap((one) => {
        const { name, include, exclude, where, level, stream } = (one ?? {}) as Record<string, unknown>;
        const text = (value: unknown): string => (typeof value === "string" ? value : "");
        const plain = { typed: "", grep: include, exclude, where, level: text(level), stream: text(stream) };
        return typeof name === "string" ? [{ name, ...partsOf(fromPlain(plain as PlainSettings).filter) }] : [];
      });
    } catch {
      return [];
    }
  }

  /** Store the filters. It fails if the page may not store anything. */
  write(filters: SavedFilter[]): void {
    localStorage.setItem(this.#key, JSON.stringify(filters));
  }

  isPresent({ name: _name, ...parts }: SavedFilter): boolean {
    return JSON.stringify(parts) === JSON.stringify(this.present);
  }

  apply({ name: _name, ...parts }: SavedFilter): void {
    this.#change({ grep: "", regex: false, matchCase: false, ...parts });
  }

  describe({ include, exclude, where, level, stream }: Parts): string {
    return [...include.map(describeTerm), ...exclude.map((term) => `not ${describeTerm(term)}`), ...where.map(describeCondition), level && describeLevels(level), stream].filter(Boolean).join(", ");
  }
}

/** A view's filter as the server has it. */

import type { SearchQuery } from "../../transport/link.ts";
import type { Filter } from "../../types/asked.ts";
import type { SourceSummary } from "../../types/summary.ts";
import { filterTerms } from "./filter.ts";
import { boundedSourceQuery } from "./sources.ts";
import { pythonPattern } from "./terms.ts";

export type RemoteQuery = Omit<SearchQuery, "since" | "until">;

/** Of a task that has these sources; what of them is too long to be asked is left out here. Null where none of them is shown. */
export function remoteQuery(filter: Filter, sources: readonly SourceSummary[]): RemoteQuery | null {
  if (sources.length > 0 && !sources.some(({ on }) => on)) return null;
  const { include, exclude, where, level } = filterTerms(filter);
  return { grep: include.map(pythonPattern), exclude: exclude.map(pythonPattern), where, level: level || undefined, stream: filter.stream || undefined, ...boundedSourceQuery(filter, sources) };
}

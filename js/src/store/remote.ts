/** A view's filter as the server has it. */

import type { SearchQuery } from "../transport/link.ts";
import type { Filter } from "../types.ts";
import { allTerms } from "./filter.ts";
import { patternOf } from "./terms.ts";

/** Null where nothing of it can be asked of the server: sources that are switched off are left out here. */
export function remoteQuery(filter: Filter): Omit<SearchQuery, "since" | "until"> | null {
  const { include, exclude, where, level } = allTerms(filter);
  const query = { grep: include.map(patternOf), exclude: exclude.map(patternOf), where, level: level || undefined, stream: filter.stream || undefined };
  return include.length + exclude.length + where.length > 0 || query.level || query.stream ? query : null;
}

/** Rows that are no lines: what is above the first, and what takes the place of lines that are not here. */

import type { Row } from "../../types/rows.ts";
import type { RemoteSearchState } from "../../types/summary.ts";
import type { TaskStore } from "../holding/store.ts";

export const EDGE_ID = -1;
/** And below: rows that are not here, by their place. */
export const BLANK_ID = -10;
const EMPTY_ROW: Omit<Row, "id" | "kind" | "text"> = { seq: -1, time: 0, source: -1, level: 0, runs: [], marks: [], hiddenChars: 0, hasDetails: false };

/** How far it is, with its time as `{ms}`. */
function searchText({ state, to, message }: RemoteSearchState): string {
  if (state === "failed") return message;
  if (state === "done") return "Searched to here: there are no more matches before";
  return to === Infinity ? "Searching what is not loaded…" : `${state === "running" ? "Searching, back" : "Searched back"} to {${Math.floor(to)}}`;
}

export function blankRow(bar: number): Row {
  return { ...EMPTY_ROW, id: BLANK_ID - bar, kind: "blank", text: "" };
}

/** Above the oldest row; `hidden`: so many rows are older than the window. */
export function edgeRow(stores: TaskStore[], loading: boolean, hidden: number, remote: RemoteSearchState | undefined): Row {
  if (remote !== undefined) return { ...EMPTY_ROW, id: EDGE_ID, kind: "edge", text: searchText(remote), aside: remote.state, remote };
  const older = hidden > 0 || stores.some((store) => store.older !== null && store.older !== undefined);
  const known = stores.some((store) => store.rows > 0 || store.state !== "");
  const text = loading ? "Loading older lines…" : older ? "Older lines" : known ? "Beginning of the log" : "";
  return { ...EMPTY_ROW, id: EDGE_ID, kind: "edge", text };
}

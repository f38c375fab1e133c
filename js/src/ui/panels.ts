/**
 * The panels that are only shown on request. They are a script of their own, which a page starts when it first shows one of them
 * (see panelslot.ts).
 */

export { Bell } from "./bell.ts";
export { ChartPanel } from "./chartpanel.ts";
export { PatternPanel } from "./patternpanel.ts";
export { RankList } from "./ranklist.ts";
export { keyHelp } from "./keyhelp.ts";
export { formatMarkdown } from "./markdown.ts";
export { savedFiltersPanel } from "./savedfilterspanel.ts";

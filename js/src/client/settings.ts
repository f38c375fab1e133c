/**
 * The viewer's settings, shared by all views of one model. `fromPlain` and `toPlain` convert them from and to plain values:
 * Python's `query`, the traits, the saved `view` and an address.
 */

import type { Filter } from "../protocol/requests.ts";
import type { ContainerSummary } from "../protocol/update.ts";
import { filterTerms, isPlainText, isRegex } from "../text/query.ts";
import { ALL_SOURCES, sourceChoice, sourceQuery } from "../text/sources.ts";
import { formatWindow, parseWindow } from "../text/time.ts";

export const TIME_DISPLAYS = ["local", "utc", "start", "delta", "off"] as const;
export type TimeDisplay = (typeof TIME_DISPLAYS)[number];
const SPLITS = ["", "level", "pod"] as const;
export const COLUMNS = ["pod", "container", "level"] as const;
export type Column = (typeof COLUMNS)[number];
/** What a chart's x axis shows; "" hides the chart. */
const CHARTS = ["", "time", "step"] as const;
export type ChartAxis = (typeof CHARTS)[number];
/** What the panel of patterns, fields and ranks shows; "" hides it. */
const PANELS = ["", "patterns", "fields", "ranks"] as const;
export type PanelTab = (typeof PANELS)[number];
export const FONT_SIZES = { least: 9, usual: 12, most: 20 };

export interface Settings {
  filter: Filter;
  time: TimeDisplay;
  wrap: boolean;
  /** Hide a line's own time and level where the columns show the same. */
  trim: boolean;
  columns: Column[];
  /** Show the newest line on top. */
  newestFirst: boolean;
  /** Font size of the lines (px). */
  fontSize: number;
  /** Width of the column of sources (characters); 0 for as wide as the names need. */
  sourceWidth: number;
  chart: ChartAxis;
  /** Draw the chart's values on a logarithmic scale. */
  chartLog: boolean;
  /** Smooth the chart's curves over this number of points; 0 for as they are. */
  chartSmooth: number;
  /** The panel has the place of the chart, so a view shows one of them: the chart, if both are set. */
  panel: PanelTab;
}

export type Change = Partial<Filter> & Partial<Omit<Settings, "filter">>;

/** Settings as plain values, with the names that Python's query uses. */
export interface PlainSettings {
  /** A duration, which ends now, or RFC 3339 for a window that begins there. */
  since?: string;
  /** RFC 3339. */
  until?: string;
  pod?: string;
  container?: string;
  role?: string;
  rank?: string;
  run?: string;
  attempt?: string;
  stream?: string;
  around?: number;
  level?: string;
  /** A text or a /regex/. Several become chips. */
  grep?: string | string[];
  exclude?: string | string[];
  where?: string | string[];
  /** The text in the filter box. */
  typed?: string;
  regex?: boolean;
  match_case?: boolean;
  /** Keys of the containers and runs that are hidden. */
  off?: string[];
  tail?: number | null;
  timestamps?: boolean;
  pretty?: boolean;
  fields?: string[];
  fold?: string;
  split?: string;
  time?: string;
  wrap?: boolean;
  trim?: boolean;
  columns?: string[];
  font_size?: number;
  source_width?: number;
  newest_first?: boolean;
  chart?: string;
  chart_log?: boolean;
  chart_smooth?: number;
  panel?: string;
}

const MAX_AROUND = 100;
const MAX_SMOOTH = 1000;
export const DEFAULT_SINCE = "1m";

function toList(value: string | string[] | undefined): string[] {
  return (Array.isArray(value) ? value : [value]).filter((one): one is string => typeof one === "string" && one !== "");
}

function parseInstant(text: string | undefined): number | null {
  const time = /^\d{4}-/.test(text ?? "") ? Date.parse(text!) : Number.NaN;
  return Number.isNaN(time) ? null : time;
}

export function fromPlain(plain: PlainSettings): Settings {
  const grep = toList(plain.grep);
  // A single plain text goes into the filter box, where it can be edited.
  const inBox = plain.typed === undefined && grep.length === 1 && !isRegex(grep[0]) && isPlainText(grep[0]);
  const [from, until] = [parseInstant(plain.since), parseInstant(plain.until)];
  const filter: Filter = {
    grep: inBox ? grep[0] : (plain.typed ?? ""),
    regex: plain.regex ?? false,
    matchCase: plain.match_case ?? false,
    include: inBox ? [] : grep,
    exclude: toList(plain.exclude),
    where: toList(plain.where),
    level: plain.level ?? "",
    stream: plain.stream ?? "",
    around: Math.max(0, Math.min(MAX_AROUND, Math.round(Number(plain.around)) || 0)),
    off: plain.off ?? [],
    pod: plain.pod ?? "",
    container: plain.container ?? "",
    role: plain.role ?? "",
    rank: String(plain.rank ?? ""),
    run: String(plain.run ?? ""),
    attempt: String(plain.attempt ?? ""),
    since: from === null ? parseWindow(plain.since || (plain.run || plain.attempt ? "all" : DEFAULT_SINCE)) : null,
    from,
    until,
    tail: typeof plain.tail === "number" ? plain.tail : null,
    pretty: plain.pretty ?? true,
    fields: plain.fields ?? [],
    equalLines: plain.fold === "exact" || plain.fold === "masked" ? plain.fold : "",
    split: SPLITS.find((one) => one === plain.split) ?? "",
  };
  const time = TIME_DISPLAYS.find((one) => one === plain.time) ?? (plain.timestamps === false ? "off" : "local");
  const columns = COLUMNS.filter((one) => (plain.columns ?? ["pod", "container"]).includes(one));
  const size = Number(plain.font_size) || FONT_SIZES.usual;
  return { filter, time, wrap: plain.wrap ?? false, trim: plain.trim ?? false, columns, newestFirst: plain.newest_first ?? false, fontSize: Math.max(FONT_SIZES.least, Math.min(FONT_SIZES.most, size)), sourceWidth: Number(plain.source_width) || 0, chart: CHARTS.find((one) => one === plain.chart) ?? "", chartLog: plain.chart_log ?? false, chartSmooth: Math.max(0, Math.min(MAX_SMOOTH, Math.round(Number(plain.chart_smooth)) || 0)), panel: PANELS.find((one) => one === plain.panel) ?? "" };
}

/** Return the settings that differ from the default, as `fromPlain` reads them. */
export function toPlain({ filter, time, wrap, trim, columns, newestFirst, fontSize, sourceWidth, chart, chartLog, chartSmooth, panel }: Settings): PlainSettings {
  const { from, until } = filter;
  const all: PlainSettings = {
    since: from === null ? formatWindow(filter.since) : new Date(from).toISOString(),
    until: until === null ? undefined : new Date(until).toISOString(),
    ...sourceChoice(filter),
    stream: filter.stream,
    level: filter.level,
    grep: filter.include,
    exclude: filter.exclude,
    where: filter.where,
    typed: filter.grep,
    regex: filter.regex || undefined,
    match_case: filter.matchCase || undefined,
    off: filter.off,
    tail: filter.tail ?? undefined,
    pretty: filter.pretty ? undefined : false,
    fields: filter.fields,
    fold: filter.equalLines,
    split: filter.split,
    around: filter.around || undefined,
    time: time === "local" ? undefined : time,
    wrap: wrap || undefined,
    trim: trim || undefined,
    columns: columns.join() === "pod,container" ? undefined : columns,
    newest_first: newestFirst || undefined,
    font_size: fontSize === FONT_SIZES.usual ? undefined : fontSize,
    source_width: sourceWidth || undefined,
    chart,
    chart_log: chartLog || undefined,
    chart_smooth: chartSmooth || undefined,
    panel,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => String(value ?? "") !== "")) as PlainSettings;
}

/** Return the `view` trait: the settings, the filter as Python's parameters, and which rows are visible. */
export function toViewTrait(settings: Settings, sources: ContainerSummary[], first: number | null, last: number | null): Record<string, unknown> {
  const { include, exclude, where, level } = filterTerms(settings.filter);
  return {
    ...toPlain(settings),
    shown: { grep: include, exclude, where, level, ...sourceQuery(settings.filter, sources) },
    first_seq: first,
    last_seq: last,
  };
}

/** Return the window and the filter as text, with the names of Python's parameters. */
export function describeFilter(settings: Settings): string {
  const { since, until, stream, tail } = toPlain(settings);
  const { include: grep, exclude, where, level } = filterTerms(settings.filter);
  const all = Object.entries({ since, until, ...sourceChoice(settings.filter), stream, tail, grep, exclude, where, level });
  return all.flatMap(([name, value]) => [value].flat().filter(Boolean).map((one) => `${name}=${one}`)).join(" ");
}

const LIST_PARAMETERS = new Set(["grep", "exclude", "where", "off", "fields", "columns"]);
const FLAG_PARAMETERS = new Set(["regex", "match_case", "timestamps", "pretty", "wrap", "trim", "newest_first", "chart_log"]);
const NUMBER_PARAMETERS = new Set(["tail", "font_size", "source_width", "around", "line", "chart_smooth"]);
const TEXT_PARAMETERS = new Set(["since", "until", ...Object.keys(ALL_SOURCES), "stream", "level", "typed", "time", "at", "split", "chart", "panel"]);

/**
 * The settings as parameters of an address. `at` is the time of the first visible row while the view is paused. `line` is the number
 * of the line of that time that the address points to.
 */
export type Address = PlainSettings & { at?: string; line?: number };

/** Read the settings from an address and ignore other parameters. */
export function parseAddress(search: URLSearchParams): Address {
  const plain: Record<string, unknown> = {};
  for (const name of new Set(search.keys())) {
    if (LIST_PARAMETERS.has(name)) plain[name] = search.getAll(name);
    else if (FLAG_PARAMETERS.has(name)) plain[name] = search.get(name) !== "false";
    else if (NUMBER_PARAMETERS.has(name)) plain[name] = Number(search.get(name)) || 0;
    else if (TEXT_PARAMETERS.has(name)) plain[name] = search.get(name);
  }
  return plain as Address;
}

/** Return an address with the tasks first, then the settings that differ from the default. */
export function formatAddress(tasks: string[], view: Record<string, unknown>): URLSearchParams {
  const search = new URLSearchParams(tasks.map((task) => ["task", task]));
  for (const [name, value] of Object.entries(view)) {
    if (LIST_PARAMETERS.has(name)) for (const one of [value].flat()) search.append(name, String(one));
    else if ((FLAG_PARAMETERS.has(name) || NUMBER_PARAMETERS.has(name) || TEXT_PARAMETERS.has(name)) && String(value ?? "") !== "") search.set(name, String(value));
  }
  return search;
}

/**
 * Notifications that a user asked for: that the task has ended, or that a line matches a condition. JupyterLab's extension shows
 * them (hosts/lab.ts); in other pages the browser does, once the user allows it. They belong to one viewer of one page, because a
 * trait would ring for everybody who has the notebook open. A reload of the page keeps them.
 */

import type { Jump } from "../protocol/requests.ts";
import type { ContainerSummary, Row, TaskSummary } from "../protocol/update.ts";
import { bellKey, type Notice, NOTIFIER, type Session } from "../client/session.ts";
import type { StoreClient } from "../client/storeclient.ts";
import { errorMessage, taskParts, truncate } from "../text/format.ts";
import { parseTerms, termRegex } from "../text/query.ts";
import { ALL_SOURCES } from "../text/sources.ts";
import { Menu, type MenuItem } from "./menu.ts";

/** A condition in the language of the filter, and since when lines count (ms, at the nodes). */
interface Watch {
  condition: string;
  from: number;
}

interface Asked {
  /** Tasks that a user wants to know the end of. */
  end: string[];
  watches: Watch[];
}

const NOTHING: Asked = { end: [], watches: [] };

/** Time between two checks of a watch (ms). In a hidden page, where timers may wait a minute, the next check is immediate. */
const PAUSE_MS = 1000;
/** Number of rows that are searched for the first match. Notices may stand before it. */
const ROWS = 100;
const ONE_US = 0.001;
const MAX_CHARS = 100;
const BLOCKED = "This browser does not show notifications of this page. Allow them in the settings of this site; a page without https cannot show any";

/** The viewers of this page that keep what was asked: of two viewers of a task, a reload restores the first. */
const claimed = new Set<string>();

function readAsked(key: string): Asked {
  try {
    return { ...NOTHING, ...(JSON.parse(sessionStorage.getItem(key) ?? "{}") as Partial<Asked>) };
  } catch {
    // Some pages have no storage.
    return NOTHING;
  }
}

/** Return what is wrong with a condition; "" if nothing is. */
function problemOf(condition: string): string {
  const { include, exclude, where, level } = parseTerms(condition);
  if (include.length + exclude.length + where.length === 0 && level === "") return "write what the line must contain, such as NaN, loss<0.1 or level>=error";
  try {
    for (const term of [...include, ...exclude]) termRegex(term);
  } catch (reason) {
    return errorMessage(reason);
  }
  return "";
}

/** What the bell needs of a view. */
export interface BellView {
  /** Time of the newest line (ms). Later lines are new ones. */
  newest(): number;
  ask(question: string, placeholder: string, value: string, answer: (text: string) => string): void;
  showError(message: string): void;
}

export class Bell {
  readonly #key: string;
  #asked = NOTHING;
  /** The store's view of each condition. */
  readonly #views = new Map<Watch, string>();
  readonly #menus = new Set<Menu>();

  readonly #session: Session;
  readonly #store: StoreClient;

  constructor(session: Session, store: StoreClient) {
    this.#session = session;
    this.#store = store;
    this.#key = bellKey(session.tasks);
    if (!claimed.has(this.#key)) this.#asked = readAsked(this.#key);
    for (const watch of this.#asked.watches) this.#start(watch);
    this.#save();
    this.summary(session.lastSummary);
  }

  close(): void {
    for (const view of this.#views.values()) this.#store.closeView(view);
    this.#asked = NOTHING;
    this.#save();
  }

  /** Return a button with a menu for a view. */
  menuFor(view: BellView): Menu {
    const menu = new Menu("", "Notify me", () => this.#items(view));
    this.#menus.add(menu);
    this.#showState();
    return menu;
  }

  #items(view: BellView): (MenuItem | string)[] {
    const { end, watches } = this.#asked;
    const several = this.#session.tasks.length > 1;
    return [
      "Notify me",
      { label: several ? "When a task ends" : "When the task ends", checked: end.length > 0, staysOpen: true, act: () => void this.#toggleEnd(view) },
      { label: "When a line matches…", act: () => this.#askCondition(view) },
      ...(watches.length > 0 ? ["Once, on the next line with"] : []),
      ...watches.map((watch) => ({ label: watch.condition, checked: true, staysOpen: true, act: () => this.#drop(watch) })),
    ];
  }

  async #toggleEnd(view: BellView): Promise<void> {
    const isWanted = this.#asked.end.length === 0;
    if (isWanted && !(await isAllowed())) {
      view.showError(BLOCKED);
      return;
    }
    const { tasks, lastSummary } = this.#session;
    this.#awaitEnds(isWanted ? tasks.filter((task) => !lastSummary.some((one) => one.task === task && one.ended)) : []);
  }

  #awaitEnds(end: string[]): void {
    this.#asked = { ...this.#asked, end };
    this.#save();
  }

  #askCondition(view: BellView): void {
    const { grep } = this.#session.settings.filter;
    view.ask("Notify when a line matches", "NaN, loss<0.1, level>=error", grep, (text) => {
      const condition = text.trim();
      const problem = problemOf(condition);
      if (problem === "") void this.#watch({ condition, from: view.newest() + ONE_US }, view);
      return problem;
    });
  }

  async #watch(watch: Watch, view: BellView): Promise<void> {
    if (!(await isAllowed())) {
      view.showError(BLOCKED);
      return;
    }
    for (const same of this.#asked.watches) if (same.condition === watch.condition) this.#drop(same);
    this.#asked = { ...this.#asked, watches: [...this.#asked.watches, watch] };
    this.#start(watch);
    this.#save();
  }

  /** Look for lines that match, with a hidden view of the store. */
  #start(watch: Watch): void {
    const nothing = { regex: false, matchCase: false, include: [], exclude: [], where: [], level: "", stream: "", around: 0, off: [], until: null, since: null, tail: null };
    const filter = { ...this.#session.settings.filter, ...ALL_SOURCES, ...nothing, grep: watch.condition, from: watch.from };
    let sources: ContainerSummary[] = [];
    const view = this.#store.addView({
      model: this.#session.model,
      filter,
      viewport: { from: 0, count: ROWS, follow: false, anchor: null, anchorIndex: 0 },
      find: "",
      hasChart: false,
      isVisible: true,
      update: (update) => {
        sources = update.sources ?? sources;
        // A store within the page answers before the view has a name.
        queueMicrotask(() => {
          if (!this.#views.has(watch)) return;
          if (update.shown > 0) this.#matched(watch, update.rows, sources);
          else if (document.hidden) this.#store.ack(view);
          else setTimeout(() => this.#store.ack(view), PAUSE_MS);
        });
      },
      readerTime: () => null,
      clock: () => {},
      regexStopped: () => {
        this.#drop(watch);
        for (const one of this.#session.views) one.showError(`The regular expression ${watch.condition} took too long on one line; it is not waited for any more`);
      },
      storeFailed: () => {},
      chartFailed: () => {},
    });
    this.#views.set(watch, view);
  }

  #drop(watch: Watch): void {
    this.#store.closeView(this.#views.get(watch) ?? "");
    this.#views.delete(watch);
    this.#asked = { ...this.#asked, watches: this.#asked.watches.filter((one) => one !== watch) };
    this.#save();
  }

  #matched(watch: Watch, rows: Row[], sources: ContainerSummary[]): void {
    this.#drop(watch);
    const row = rows.find(({ kind, time }) => kind === "line" && time >= watch.from);
    const task = (row && sources[row.source]?.task) || this.#session.tasks[0];
    const text = row === undefined ? "" : `: ${truncate(row.text, MAX_CHARS)}`;
    this.#notify(`${taskParts(task).name} · ${watch.condition}${text}`, "info", row && { to: "seq", task, seq: row.seq, time: row.time });
  }

  /** Take note of the tasks' states. */
  summary(tasks: TaskSummary[]): void {
    for (const { task, state, message, ended } of tasks) {
      if (!ended || !this.#asked.end.includes(task)) continue;
      this.#awaitEnds(this.#asked.end.filter((one) => one !== task));
      this.#notify(`${taskParts(task).name} has ended: ${message || state}`, state === "succeeded" ? "success" : "error");
    }
  }

  #notify(message: string, type: Notice["type"], jump?: Jump): void {
    const views = [...this.#session.views];
    const view = views.find(({ root }) => root.isConnected) ?? views[0];
    if (view === undefined) return;
    const show = (): void => view.goTo(jump);
    const notifier = (globalThis as Record<symbol, unknown>)[NOTIFIER] as ((notice: Notice) => void) | undefined;
    if (notifier !== undefined) {
      notifier({ message, type, element: view.root, show });
      return;
    }
    const notification = new Notification(message);
    notification.addEventListener("click", () => {
      window.focus();
      view.root.scrollIntoView({ block: "nearest" });
      show();
      notification.close();
    });
  }

  #save(): void {
    const { end, watches } = this.#asked;
    const isOn = end.length + watches.length > 0;
    try {
      if (isOn) sessionStorage.setItem(this.#key, JSON.stringify(this.#asked));
      else if (claimed.has(this.#key)) sessionStorage.removeItem(this.#key);
    } catch {
      // Without storage a reload forgets what was asked.
    }
    if (isOn) claimed.add(this.#key);
    else claimed.delete(this.#key);
    this.#showState();
  }

  #showState(): void {
    const isOn = this.#asked.end.length + this.#asked.watches.length > 0;
    for (const menu of this.#menus) {
      menu.button.setAttribute("aria-pressed", String(isOn));
      menu.refresh();
    }
  }
}

/** Return whether notifications can be shown. Where only the browser can, ask the user. */
async function isAllowed(): Promise<boolean> {
  if (NOTIFIER in globalThis) return true;
  if (typeof Notification === "undefined") return false;
  if (Notification.permission === "default") await Notification.requestPermission();
  return Notification.permission === "granted";
}

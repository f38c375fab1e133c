/** What the keys and the menus' entries do. */

import type { Jump } from "../types/asked.ts";
import { EQUAL_LINES } from "./display.ts";
import type { FilterBar } from "./filterbar.ts";
import { type Action, actionOf, helpPanel } from "./keys.ts";
import type { Rows } from "./rows.ts";
import type { Session } from "./session.ts";
import { FONT_SIZES, TIMES } from "./settings.ts";
import type { LineActions } from "./taking.ts";

export interface CommandTargets {
  rows: Rows;
  filterBar: FilterBar;
  lineActions: LineActions;
  jump(to: Jump): void;
}

export class Commands {
  readonly help = helpPanel(() => this.act("help"));

  constructor(
    private readonly root: HTMLElement,
    private readonly session: Session,
    private readonly targets: CommandTargets,
  ) {
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  /** The keys act on the lines from here. */
  focus(): void {
    this.targets.rows.element.focus({ preventScroll: true });
  }

  act(action: Action): void {
    const { rows, filterBar, lineActions, jump } = this.targets;
    const { settings } = this.session;
    const change = this.session.change.bind(this.session);
    const from = rows.current?.id ?? null;
    const act: Record<Action, () => void> = {
      filter: () => filterBar.toFilter(),
      find: () => filterBar.toFind(),
      next: () => jump({ to: "match", by: 1, from }),
      previous: () => jump({ to: "match", by: -1, from }),
      nextError: () => jump({ to: "error", by: 1, from }),
      previousError: () => jump({ to: "error", by: -1, from }),
      death: () => jump({ to: "death" }),
      escape: () => this.#escape(),
      newest: () => this.#newest(),
      oldest: () => rows.toOldest(),
      follow: () => (rows.follow ? rows.setFollow(false) : this.#newest()),
      goto: () => lineActions.goTo(),
      time: () => change({ time: TIMES[(TIMES.indexOf(settings.time) + 1) % TIMES.length] }),
      wrap: () => change({ wrap: !settings.wrap }),
      reverse: () => change({ newestFirst: !settings.newestFirst }),
      chart: () => change({ chart: settings.chart === "" ? "time" : "" }),
      json: () => change({ pretty: !settings.filter.pretty }),
      open: () => rows.picker.open(),
      same: () => change({ equalLines: EQUAL_LINES[(EQUAL_LINES.findIndex(([same]) => same === settings.filter.equalLines) + 1) % EQUAL_LINES.length][0] }),
      bigger: () => change({ fontSize: Math.min(FONT_SIZES.most, settings.fontSize + 1) }),
      smaller: () => change({ fontSize: Math.max(FONT_SIZES.least, settings.fontSize - 1) }),
      full: () => this.#fullScreen(),
      help: () => this.#toggleHelp(),
      mark: () => lineActions.bookmark(),
      copy: () => lineActions.copy("text"),
      copyCode: () => lineActions.copy("code"),
      context: () => lineActions.context(),
      sources: () => this.root.classList.toggle(this.root.matches(".cl-narrow, .cl-tight.cl-charted") ? "cl-sources" : "cl-nosources"),
    };
    act[action]();
  }

  #key(event: KeyboardEvent): void {
    const { target } = event;
    const typing = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    const control = event.ctrlKey || event.metaKey;
    if (typing && event.key !== "Escape" && !(control && event.key === "f")) {
      // What is typed here is not a command of the notebook.
      event.stopPropagation();
      return;
    }
    const picks = event.shiftKey && !control && (event.key === "ArrowUp" || event.key === "ArrowDown");
    const action = picks ? undefined : actionOf(event);
    // What is in focus is pressed by the space bar and by Enter.
    if ([" ", "-", "Enter"].includes(event.key) && (target as Element).closest("button, a, summary")) return;
    if (action === undefined && !picks) return;
    event.preventDefault();
    event.stopPropagation();
    if (picks) this.targets.lineActions.extend(event.key === "ArrowUp" ? -1 : 1);
    else this.act(action!);
  }

  #newest(): void {
    this.targets.rows.setFollow(true);
    this.focus();
  }

  #toggleHelp(): void {
    this.help.hidden = !this.help.hidden;
    if (this.help.hidden) this.focus();
    else this.help.querySelector("button")?.focus({ preventScroll: true });  // they are read from the top
  }

  #fullScreen(): void {
    const { root } = this;
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (root.requestFullscreen) void root.requestFullscreen().catch(() => root.classList.toggle("cl-full"));
    else root.classList.toggle("cl-full");
  }

  #escape(): void {
    const { filterBar, lineActions } = this.targets;
    if (!this.help.hidden) this.#toggleHelp();
    else if (lineActions.escape()) return;
    else if (filterBar.finding) {
      filterBar.toFilter();
      this.focus();
    } else if (this.session.settings.filter.grep !== "") this.session.change({ grep: "" });
    else this.root.classList.remove("cl-full", "cl-sources");
  }
}

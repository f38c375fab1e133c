/** What the keys and the menus' entries do. */

import type { Jump } from "../types/asked.ts";
import { SAME } from "./display.ts";
import type { FilterBar } from "./filterbar.ts";
import { type Action, actionOf, helpPanel } from "./keys.ts";
import type { Rows } from "./rows.ts";
import type { Session } from "./session.ts";
import { FONTS, TIMES } from "./settings.ts";
import type { Taking } from "./taking.ts";

export interface Commanded {
  rows: Rows;
  filterBar: FilterBar;
  taking: Taking;
  jump(to: Jump): void;
}

export class Commands {
  readonly help = helpPanel(() => this.act("help"));

  constructor(
    private readonly root: HTMLElement,
    private readonly session: Session,
    private readonly on: Commanded,
  ) {
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  /** The keys act on the lines from here. */
  focus(): void {
    this.on.rows.element.focus({ preventScroll: true });
  }

  act(action: Action): void {
    const { rows, filterBar, taking, jump } = this.on;
    const { settings } = this.session;
    const change = this.session.change.bind(this.session);
    const from = rows.at?.id ?? null;
    const act: Record<Action, () => void> = {
      filter: () => filterBar.filter(),
      find: () => filterBar.find(),
      next: () => jump({ to: "found", by: 1, from }),
      previous: () => jump({ to: "found", by: -1, from }),
      nextError: () => jump({ to: "error", by: 1, from }),
      previousError: () => jump({ to: "error", by: -1, from }),
      death: () => jump({ to: "death" }),
      escape: () => this.#escape(),
      newest: () => this.#newest(),
      oldest: () => rows.toOldest(),
      follow: () => (rows.follow ? rows.setFollow(false) : this.#newest()),
      goto: () => taking.goTo(),
      time: () => change({ time: TIMES[(TIMES.indexOf(settings.time) + 1) % TIMES.length] }),
      wrap: () => change({ wrap: !settings.wrap }),
      reverse: () => change({ newestFirst: !settings.newestFirst }),
      chart: () => change({ chart: settings.chart === "" ? "time" : "" }),
      json: () => change({ pretty: !settings.filter.pretty }),
      open: () => rows.picking.open(),
      same: () => change({ same: SAME[(SAME.findIndex(([same]) => same === settings.filter.same) + 1) % SAME.length][0] }),
      bigger: () => change({ fontSize: Math.min(FONTS.most, settings.fontSize + 1) }),
      smaller: () => change({ fontSize: Math.max(FONTS.least, settings.fontSize - 1) }),
      full: () => this.#fullScreen(),
      help: () => this.#toggleHelp(),
      mark: () => taking.mark(),
      copy: () => taking.copy("text"),
      copyCode: () => taking.copy("code"),
      context: () => taking.context(),
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
    if (picks) this.on.taking.move(event.key === "ArrowUp" ? -1 : 1);
    else this.act(action!);
  }

  #newest(): void {
    this.on.rows.setFollow(true);
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
    const { filterBar, taking } = this.on;
    if (!this.help.hidden) this.#toggleHelp();
    else if (taking.escape()) return;
    else if (filterBar.finding) {
      filterBar.filter();
      this.focus();
    } else if (this.session.settings.filter.grep !== "") this.session.change({ grep: "" });
    else this.root.classList.remove("cl-full", "cl-sources");
  }
}

/** The actions that keys and menus start. Keys work only while the viewer has the focus. */

import type { Jump } from "../protocol/requests.ts";
import type { Session } from "../client/session.ts";
import { FONT_SIZES, TIME_DISPLAYS } from "../client/settings.ts";
import { EQUAL_LINES } from "./display.ts";
import { focusOn, h, listen } from "./dom.ts";
import type { FilterBar } from "./filterbar.ts";
import type { LineActions } from "./lineactions.ts";
import { fillOnDemand, type LoadPanels } from "./panelslot.ts";
import type { Rows } from "./rows.ts";

/** The keys of each action. keyhelp.ts describes the actions. */
const KEYS = {
  filter: ["/"],
  find: ["Ctrl+f", "F3"],
  next: ["n"],
  previous: ["N"],
  nextError: ["e"],
  previousError: ["E"],
  context: ["c"],
  escape: ["Escape"],
  oldest: ["g", "Home"],
  newest: ["G", "End"],
  follow: ["F", " "],
  goto: [":"],
  window: ["W"],
  death: ["d"],
  time: ["t"],
  trim: ["h"],
  wrap: ["w"],
  json: ["j"],
  open: ["Enter", "o"],
  same: ["u"],
  reverse: ["r"],
  sources: ["s"],
  chart: ["p"],
  patterns: ["P"],
  full: ["f"],
  bigger: ["+", "="],
  smaller: ["-"],
  mark: ["m"],
  nextMark: ["b"],
  previousMark: ["B"],
  copy: ["y"],
  copyMarkdown: ["M"],
  copyCode: ["Y"],
  copyLink: ["L"],
  help: ["?"],
};

export type Action = keyof typeof KEYS;


const ACTIONS = new Map(Object.entries(KEYS).flatMap(([action, keys]) => keys.map((key): [string, Action] => [key, action as Action])));

/** JupyterLab has no shortcuts in an element with this attribute. */
const SUPPRESS = "data-lm-suppress-shortcuts";

/** With Ctrl or Meta, these edit a text: select all, copy, paste, cut, redo, undo. */
const EDITING_KEYS = "acvxyz";

/** Return the action of a key; undefined if it has none. */
function actionOf(event: KeyboardEvent): Action | undefined {
  const control = event.ctrlKey || event.metaKey;
  if (event.altKey) return undefined;
  return ACTIONS.get(control ? `Ctrl+${event.key.toLowerCase()}` : event.key);
}

export interface CommandTargets {
  rows: Rows;
  filterBar: FilterBar;
  lineActions: LineActions;
  jump(to: Jump): void;
}

export class Commands {
  // With the focus on the dialog itself, a user starts to read at its top.
  readonly help = h("dialog", { class: "cl-help", popover: "auto", "aria-label": "Keys", autofocus: true, tabindex: "-1" });

  readonly #root: HTMLElement;
  readonly #session: Session;
  readonly #targets: CommandTargets;

  constructor(
    root: HTMLElement,
    session: Session,
    targets: CommandTargets,
    load: LoadPanels,
  ) {
    this.#root = root;
    this.#session = session;
    this.#targets = targets;
    fillOnDemand(this.help, load, ({ keyHelp }) => keyHelp(() => this.help.hidePopover()));
    // While an input method composes text, keys belong to it. Safari reports the Enter that ends a composition with code 229.
    listen(root, "keydown", (event) => (event.isComposing || event.keyCode === 229) && event.stopPropagation(), { capture: true });
    listen(root, "keydown", (event) => this.#key(event));
    listen(root, "focusin", () => addEventListener("keydown", this.#shield, true));
    listen(root, "focusout", () => this.close());
  }

  /** Leave keys to the page. */
  close(): void {
    removeEventListener("keydown", this.#shield, true);
  }

  /**
   * Keep keys from JupyterLab, which would cut the cell or insert one, except its shortcuts with Ctrl, Alt or Meta that are not
   * ours. It looks for this attribute from the focused element upward (`CommandRegistry.processKeydownEvent` in @lumino/commands),
   * in the capture phase at the document, so before any listener of ours within it.
   */
  readonly #shield = (event: KeyboardEvent): void => {
    // An element that is removed may lose the focus without an event.
    if (!event.composedPath().includes(this.#root)) {
      this.close();
      return;
    }
    const forJupyter = (event.ctrlKey || event.metaKey || event.altKey) && actionOf(event) === undefined;
    for (const element of [this.#root, event.target as Element]) element.toggleAttribute(SUPPRESS, !forJupyter);
  };

  /** Move the focus to the lines, so that keys act on them. */
  focus(): void {
    focusOn(this.#targets.rows.element);
  }

  act(action: Action): void {
    const { rows, filterBar, lineActions, jump } = this.#targets;
    const { settings } = this.#session;
    const change = this.#session.change.bind(this.#session);
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
      window: () => lineActions.chooseWindow(),
      time: () => change({ time: TIME_DISPLAYS[(TIME_DISPLAYS.indexOf(settings.time) + 1) % TIME_DISPLAYS.length] }),
      trim: () => change({ trim: !settings.trim }),
      wrap: () => change({ wrap: !settings.wrap }),
      reverse: () => change({ newestFirst: !settings.newestFirst }),
      chart: () => change({ chart: settings.chart === "" ? "time" : "", panel: "" }),
      patterns: () => change({ panel: settings.panel === "" || settings.chart !== "" ? "patterns" : "", chart: "" }),
      json: () => change({ pretty: !settings.filter.pretty }),
      open: () => rows.picker.open(),
      same: () => change({ equalLines: EQUAL_LINES[(EQUAL_LINES.findIndex(([same]) => same === settings.filter.equalLines) + 1) % EQUAL_LINES.length][0] }),
      bigger: () => change({ fontSize: Math.min(FONT_SIZES.most, settings.fontSize + 1) }),
      smaller: () => change({ fontSize: Math.max(FONT_SIZES.least, settings.fontSize - 1) }),
      full: () => this.#fullScreen(),
      help: () => this.help.togglePopover(),
      mark: () => lineActions.bookmark(),
      copy: () => lineActions.copy("text"),
      nextMark: () => lineActions.stepBookmark(1),
      previousMark: () => lineActions.stepBookmark(-1),
      copyMarkdown: () => lineActions.copy("markdown"),
      copyCode: () => lineActions.copy("code"),
      copyLink: () => lineActions.copyLink(),
      context: () => lineActions.context(),
      sources: () => this.#root.classList.toggle(this.#root.matches(".cl-narrow, .cl-tight.cl-charted") ? "cl-sources" : "cl-nosources"),
    };
    act[action]();
  }

  #key(event: KeyboardEvent): void {
    const { target } = event;
    const typing = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    const control = event.ctrlKey || event.metaKey;
    if (typing && event.key !== "Escape" && !(control && event.key === "f")) {
      // Keys that are typed here must not start the notebook's own shortcuts. JupyterLab listens at the document, while the event bubbles.
      if (!control || event.key.length > 1 || EDITING_KEYS.includes(event.key.toLowerCase())) event.stopPropagation();
      return;
    }
    const { rows, lineActions } = this.#targets;
    const by = control || event.altKey ? undefined : ({ ArrowUp: -1, ArrowDown: 1 } as const)[event.key];
    const picks = by !== undefined && (event.shiftKey || (lineActions.hasPick && rows.element.contains(target as Node)));
    const action = picks ? undefined : actionOf(event);
    // The browser closes what is open above the viewer.
    if (event.key === "Escape" && this.#root.querySelector(":popover-open") !== null) return;
    // The space bar and Enter click the focused element.
    if ([" ", "-", "Enter"].includes(event.key) && (target as Element).closest("button, a, summary")) return;
    if (action === undefined && !picks) return;
    event.preventDefault();
    event.stopPropagation();
    if (picks) lineActions.move(by, event.shiftKey);
    else this.act(action!);
  }

  #newest(): void {
    this.#targets.rows.setFollow(true);
    this.focus();
  }

  #fullScreen(): void {
    const root = this.#root;
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (root.requestFullscreen) void root.requestFullscreen().catch(() => root.classList.toggle("cl-full"));
    else root.classList.toggle("cl-full");
  }

  #escape(): void {
    const { filterBar, lineActions } = this.#targets;
    if (lineActions.escape()) return;
    if (filterBar.finding) {
      filterBar.toFilter();
      this.focus();
    } else if (this.#session.settings.filter.grep !== "") this.#session.change({ grep: "" });
    else this.#root.classList.remove("cl-full", "cl-sources");
  }
}

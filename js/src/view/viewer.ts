/** One view: the strips together, the keys, and the store's updates drawn once a frame. */

import type { Hub, ViewSide } from "../store/client.ts";
import type { SourceSummary, Update } from "../types.ts";
import { h, setFlag } from "./dom.ts";
import { FilterBar } from "./filterbar.ts";
import { Header } from "./header.ts";
import { labels } from "./names.ts";
import { EmptyPanel, helpPanel, ProblemBar } from "./panel.ts";
import type { Label } from "./row.ts";
import { Rows } from "./rows.ts";
import type { Session } from "./session.ts";
import { Sources } from "./sources.ts";
import { StatusBar } from "./status.ts";
import { TimeBar } from "./timebar.ts";

const NARROW = 560;
/** Least time between two acknowledgements: about two updates a frame. */
const ACK_AGAIN = 8;

export class Viewer {
  readonly root = h("div", { class: "cortex-logs", "data-lm-suppress-shortcuts": "true" });
  #header: Header;
  #filterBar: FilterBar;
  #timeBar: TimeBar;
  #sourceList: Sources;
  #rows: Rows;
  #status: StatusBar;
  #empty: EmptyPanel;
  #problem: ProblemBar;
  #help: HTMLElement;
  #body: HTMLElement;
  #labels: Label[] = [];
  #labelsOf = "";
  #sources: SourceSummary[] = [];
  #pending: Update | undefined;
  #drawn: Update | undefined;
  #frame = 0;
  #visible = true;
  #held = false;
  #acking: ReturnType<typeof setTimeout> | undefined;
  #ackedAt = 0;
  #view = "";
  #side: ViewSide | undefined;
  #observers: { disconnect(): void }[] = [];

  constructor(
    private readonly hub: Hub,
    private readonly session: Session,
  ) {
    const change = session.change.bind(session);
    this.#rows = new Rows({
      label: (source) => this.#labels[source],
      older: () => this.#older(),
      hole: (id) => hub.hole(this.#view, id),
      fold: (id) => hub.fold(this.#view, id),
      text: (id) => hub.text(this.#view, id),
      resized: () => this.#rows.draw(),
      tree: {
        get chosen() {
          return session.settings.filter.fields;
        },
        choose: (field) => session.chooseField(field),
        filter: (condition) => session.addFilter(condition),
      },
      look: (look) => {
        if (this.#side) this.#side.look = look;
        hub.look(this.#view, look);
      },
      followed: (follow) => this.#followed(follow),
      reachedTop: () => this.#drawn && !this.#drawn.loading && this.#drawn.rows[0]?.text === "Older lines" && this.#older(),
    });
    this.#header = new Header(() => this.#fullScreen(), () => this.#toggleHelp(), (message) => this.#problem.complain(message));
    this.#filterBar = new FilterBar(change);
    this.#filterBar.onSources = () => this.root.classList.toggle("cl-sources");
    this.#timeBar = new TimeBar((since) => change({ since }));
    this.#sourceList = new Sources((off) => change({ off, pod: "", container: "" }));
    this.#status = new StatusBar(() => this.#newest());
    this.#empty = new EmptyPanel(() => this.#older());
    this.#problem = new ProblemBar(() => hub.retry(session.model));
    this.#help = helpPanel(() => this.#toggleHelp());
    this.#body = h("div", { class: "cl-body" }, this.#sourceList.element, h("div", { class: "cl-main" }, this.#rows.element, this.#empty.element));
    this.root.append(this.#header.element, this.#timeBar.element, this.#filterBar.element, this.#problem.element, this.#body, this.#status.element, this.#help);
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.#filterBar.element.addEventListener("keydown", (event) => event.key === "Escape" && this.#filterBar.input.value !== "" && change({ grep: "" }));
    this.settings();
    this.#side = {
      model: session.model,
      filter: session.settings.filter,
      look: this.#rows.look(),
      update: (update) => this.#receive(update),
      regexStopped: () => session.regexStopped(),
    };
    this.#view = hub.addView(this.#side);
    this.#observe();
  }

  /** The settings have changed, here or in another view of the same model, or in Python. */
  settings(): void {
    const { settings, height, tasks } = this.session;
    this.#header.tasks(tasks);
    this.#filterBar.show(settings);
    this.#timeBar.show(settings.filter.since);
    this.root.style.setProperty("--height", `${height}px`);
    setFlag(this.root, "cl-notime", !settings.time);
    if (this.#rows.wrap !== settings.wrap) this.#rows.setWrap(settings.wrap);
    if (this.#side && this.#side.filter !== settings.filter) {
      this.#side.filter = settings.filter;
      this.#rows.restyle();
      this.hub.filter(this.#view, settings.filter);
    }
  }

  complain(message: string): void {
    this.#problem.complain(message);
  }

  close(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#acking);
    for (const observer of this.#observers) observer.disconnect();
    this.hub.closeView(this.#view);
    this.root.remove();
  }

  #observe(): void {
    if (typeof ResizeObserver === "function") {
      const resize = new ResizeObserver(() => {
        setFlag(this.root, "cl-narrow", this.root.clientWidth < NARROW);
        this.#rows.measure();
      });
      resize.observe(this.root);
      resize.observe(this.#rows.element);
      this.#observers.push(resize);
    }
    if (typeof IntersectionObserver === "function") {
      const seen = new IntersectionObserver((entries) => {
        this.#visible = entries[entries.length - 1].isIntersecting;
        if (this.#visible && this.#held) this.#schedule();
      });
      seen.observe(this.root);
      this.#observers.push(seen);
    }
    const shown = (): void => {
      if (!document.hidden && this.#held) this.#schedule();
    };
    document.addEventListener("visibilitychange", shown);
    this.#observers.push({ disconnect: () => document.removeEventListener("visibilitychange", shown) });
  }

  /** Nothing is drawn and nothing more is sent while nobody can see it; the store keeps all lines meanwhile. */
  #receive(update: Update): void {
    update.sources ??= this.#pending?.sources;
    update.histogram ??= this.#pending?.histogram;
    this.#pending = update;
    if (this.#visible && !document.hidden) {
      this.#schedule();
    } else this.#held = true;
  }

  /** Not only after the frame: what arrives before it is drawn with it, a line must not wait for the frame after. */
  #ack(): void {
    const wait = Math.max(0, this.#ackedAt + ACK_AGAIN - performance.now());
    this.#acking ??= setTimeout(() => {
      this.#acking = undefined;
      this.#ackedAt = performance.now();
      this.hub.ack(this.#view);
    }, wait);
  }

  #schedule(): void {
    this.#held = false;
    this.#ack();
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      try {
        if (this.#pending) this.#draw(this.#pending);
      } catch (reason) {
        this.#problem.complain(`The viewer failed to draw: ${reason instanceof Error ? reason.message : String(reason)}`);
      }
      this.#pending = undefined;
    });
  }

  #draw(update: Update): void {
    if (update.sources) this.#showSources(update.sources);
    this.#drawn = update;
    this.session.opened(update.tasks);
    this.#rows.update(update);
    this.#header.update(update);
    this.#filterBar.update(update);
    this.#status.update(update, this.#rows.follow);
    this.#empty.update(update, this.session.settings.filter.since);
    this.#problem.show(update.problem, update.link === "stopped" || Boolean(update.problem?.task));
    if (update.histogram) this.#timeBar.draw(update.histogram);
    this.#place();
  }

  #showSources(sources: SourceSummary[]): void {
    this.#sources = sources;
    this.#sourceList.update(sources);
    this.#labels = labels(sources);
    const shape = this.#labels.map(({ short, hue }) => `${short} ${hue}`).join("|");
    if (shape === this.#labelsOf) return;
    this.#labelsOf = shape;
    // As wide as the pods' names; a container's name behind it may be cut.
    const longest = Math.max(1, ...this.#labels.map(({ short }) => short.split(" ")[0].length));
    const several = this.#labels.some(({ short }) => short.includes(" "));
    this.root.style.setProperty("--src-w", `${Math.min(14, Math.max(longest, several ? 9 : 0))}ch`);
    setFlag(this.root, "cl-single", this.#labels.length < 2);
    this.#rows.restyle();
  }

  #place(): void {
    let first: number | null = null;
    let last: number | null = null;
    for (const { seq } of this.#rows.inSight) {
      if (first === null || seq < first) first = seq;
      if (last === null || seq > last) last = seq;
    }
    this.#status.place(first, last);
    this.session.sees(this.#sources, first, last);
  }

  #followed(follow: boolean): void {
    if (this.#drawn) this.#status.update(this.#drawn, follow);
  }

  #older(): void {
    if (this.#rows.follow && this.#rows.total > 1) this.#rows.setFollow(false);
    this.hub.older(this.#view);
  }

  #newest(): void {
    this.#rows.setFollow(true);
    this.#rows.element.focus({ preventScroll: true });
  }

  #toggleHelp(): void {
    this.#help.hidden = !this.#help.hidden;
    if (this.#help.hidden) this.#rows.element.focus({ preventScroll: true });
    else this.#help.querySelector("button")?.focus();
  }

  #fullScreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (this.root.requestFullscreen) void this.root.requestFullscreen().catch(() => this.root.classList.toggle("cl-full"));
    else this.root.classList.toggle("cl-full");
  }

  #key(event: KeyboardEvent): void {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) {
      // What is typed here is not a command of the notebook.
      if (typing) event.stopPropagation();
      return;
    }
    const { settings } = this.session;
    const act: Record<string, () => void> = {
      "/": () => this.#filterBar.input.select(),
      Escape: () => this.#escape(),
      End: () => this.#newest(),
      G: () => this.#newest(),
      Home: () => this.#rows.toTop(),
      g: () => this.#rows.toTop(),
      t: () => this.session.change({ time: !settings.time }),
      w: () => this.session.change({ wrap: !settings.wrap }),
      j: () => this.session.change({ pretty: !settings.filter.pretty }),
      f: () => this.#fullScreen(),
      "?": () => this.#toggleHelp(),
    };
    if (!Object.hasOwn(act, event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    act[event.key]();
  }

  #escape(): void {
    if (!this.#help.hidden) this.#toggleHelp();
    else if (this.#header.closeMenu()) return;
    else if (this.session.settings.filter.grep !== "") this.session.change({ grep: "" });
    else this.root.classList.remove("cl-full", "cl-sources");
  }
}

/**
 * The page of its own without a task: a live list of the tasks of a namespace, and a search in all of them. The server has written
 * the list into the page already, for browsers without scripts. The page's address holds namespace, search and chosen tasks.
 */

import type { Problem, TaskSearchEvents } from "../protocol/events.ts";
import { errorMessage, taskParts } from "../text/format.ts";
import { fetchEvents, fetchNamespaces, fetchTasks, readPageConfig, RequestError } from "../transport/http.ts";
import { button, focusedIn, focusOn, h, setHidden, setText } from "../ui/dom.ts";
import { TaskSearchView } from "../ui/tasksearch.ts";
import { TaskTable } from "../ui/tasktable.ts";

/** Maximum age of a list (s). While the page is visible, an older list is fetched again. The server may set a longer time. */
const FRESH_S = 2;
/** Time before the list is tried again after a failure (ms), at first and at most. */
const RETRY_MS = [2000, 30_000];
/** Lines of each task that a search fetches. */
const LINES = 50;
const WINDOWS = [["", "any time"], ["1h", "last hour"], ["24h", "last 24 hours"], ["7d", "last 7 days"]];

interface Address {
  namespace: string;
  /** A label selector of pods. */
  selector: string;
  search: string;
  since: string;
  tasks: string[];
}

function readAddress(): Address {
  const parameters = new URLSearchParams(location.search);
  const [namespace, selector, search, since] = ["namespace", "selector", "search", "since"].map((name) => parameters.get(name) ?? "");
  return { namespace, selector, search, since, tasks: parameters.getAll("task") };
}

/** Return the parameters of an address, or of a search. */
function parametersOf({ namespace, selector, search, since, tasks }: Address): URLSearchParams {
  const given = Object.entries({ namespace, selector, search, since }).filter(([, value]) => value !== "");
  return new URLSearchParams([...given, ...tasks.map((task) => ["task", task])]);
}

/** The last namespace of this browser. Each server of a host has its own. Where the page may store nothing, nothing is remembered. */
class LastNamespace {
  readonly #name: string;

  constructor(base: string) {
    this.#name = `cortex-jupyter:namespace:${base}`;
  }

  get(): string {
    try {
      return localStorage.getItem(this.#name) ?? "";
    } catch {
      return "";
    }
  }

  set(namespace: string): void {
    try {
      localStorage.setItem(this.#name, namespace);
    } catch {
      // It is chosen again.
    }
  }
}

class TasksPage {
  readonly #config = readPageConfig();
  readonly #last = new LastNamespace(this.#config.base);
  readonly #table = new TaskTable((tasks) => this.#showScope(tasks));
  readonly #switch = h("span", { class: "switch" });
  readonly #problem = h("p", { role: "alert" });
  readonly #choices = h("div");
  readonly #form: HTMLFormElement;
  readonly #box: HTMLInputElement;
  readonly #window: HTMLSelectElement;
  readonly #scope = h("span", { class: "scope" });
  readonly #results = h("div");
  /** The namespaces that the user may read; null if they cannot be known, undefined until the server has answered. */
  #namespaces: string[] | null | undefined;
  #address = readAddress();
  /** The namespace of an address that names none; empty if the user has to choose one. */
  #first: string;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #round = 0;
  #retry = RETRY_MS[0];
  #searching: AbortController | undefined;
  /** Whether the namespace is the last one of this browser, which may be gone. */
  #isRemembered: boolean;
  /** Whether the user may not read the namespace, or it does not exist. */
  #isRefused = false;

  /** `shown` is the namespace that the server would show first; empty if the user may not read that, but several others. `cluster` is one of several clusters. */
  constructor(main: HTMLElement, readonly shown: string, namespaces?: string[] | null, cluster = "") {
    this.#namespaces = namespaces;
    this.#box = h("input", { type: "search", name: "search", placeholder: "Search in all tasks: CUDA out of memory", "aria-label": "Search in all tasks", title: "As in the viewer's filter box: words, \"literal text\", /regex/, a OR b, -without, loss<0.1, level>=warning", spellcheck: "false", autocomplete: "off" });
    this.#window = h("select", { "aria-label": "Search lines of", onchange: () => this.#box.value.trim() && this.#submit() }, ...WINDOWS.map(([value, label]) => h("option", { value }, label)));
    this.#form = h("form", { role: "search", onsubmit: (event: Event) => (event.preventDefault(), this.#submit()) }, this.#box, this.#window, h("button", { type: "submit", class: "btn" }, "Search"), this.#scope);
    main.replaceChildren(h("header", {}, h("h1", {}, "Tasks in ", this.#switch, ...(cluster === "" ? [] : [" of ", h("a", { href: "../../view", title: "All clusters" }, cluster)])), this.#form), this.#problem, this.#choices, this.#results, this.#table.element);
    this.#table.clear("Loading the tasks…");
    const [task = ""] = this.#address.tasks;
    const named = this.#address.namespace || (task.includes(":") ? task.split(":")[0] : "");
    this.#isRemembered = named === "";
    this.#first = named || this.#last.get() || shown;
    this.#address.namespace = this.#first;
  }

  start(): void {
    addEventListener("popstate", () => this.#open(readAddress()));
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    document.addEventListener("keydown", (event) => this.#key(event));
    this.#open(this.#address);
    if (this.#namespaces === undefined) void this.#loadNamespaces();
  }

  async #loadNamespaces(): Promise<void> {
    try {
      this.#namespaces = (await fetchNamespaces(fetch, this.#config)).namespaces;
    } catch (reason) {
      console.warn("[cortex-jupyter] the namespaces are not known", reason);
      this.#namespaces = null;
    }
    this.#drawSwitch();
    this.#drawChoices();
  }

  /** Draw the namespace switch: a menu of the known namespaces, or a text field. */
  #drawSwitch(): void {
    const { namespace } = this.#address;
    const known = this.#namespaces;
    const change = (event: Event): void => this.#goTo({ namespace: (event.target as HTMLInputElement).value.trim() || this.shown, selector: "", search: "", since: "", tasks: [] });
    const names = [...new Set([...(known ?? []), ...(namespace ? [namespace] : [])])].toSorted();
    const options = names.map((name) => h("option", { value: name, selected: name === namespace }, name));
    if (namespace === "") options.unshift(h("option", { value: "", selected: true, disabled: true }, "choose a namespace"));
    const choice = known === null
      ? h("input", { type: "text", "aria-label": "Namespace", value: namespace, size: Math.max(10, namespace.length), spellcheck: "false", autocomplete: "off", onchange: change })
      : h("select", { "aria-label": "Namespace", onchange: change }, ...options);
    const hadFocus = focusedIn(this.#switch) !== null;
    this.#switch.replaceChildren(choice);
    if (hadFocus) focusOn(choice);
  }

  /** Where no tasks are shown, say which namespaces the user may read. */
  #drawChoices(): void {
    const { namespace } = this.#address;
    const known = this.#namespaces;
    if (known === undefined || (namespace !== "" && !this.#isRefused)) {
      this.#choices.replaceChildren();
      return;
    }
    const others = (known ?? []).filter((name) => name !== namespace);
    const label = known === null
      ? "This server cannot know which namespaces you may read. Type the name of yours above."
      : others.length > 0 ? "You may read logs in:" : "You may read logs in no other namespace of this cluster.";
    const items = others.map((name) => h("li", {}, h("a", { href: `view?${new URLSearchParams({ namespace: name })}` }, name)));
    this.#choices.replaceChildren(h("p", {}, label), ...(items.length > 0 ? [h("ul", { class: "choices" }, ...items)] : []));
  }

  /** Show what an address names, and put it into the page's history. */
  #goTo(address: Address): void {
    history.pushState(null, "", `?${parametersOf(address)}`);
    this.#open(address);
  }

  #open(address: Address): void {
    const namespace = address.namespace || this.#first;
    const isOther = namespace !== this.#address.namespace || address.selector !== this.#address.selector;
    this.#address = { ...address, namespace };
    if (isOther) {
      this.#table.clear("Loading the tasks…");
      this.#table.clearChoice();
    }
    this.#isRefused = false;
    this.#drawSwitch();
    this.#drawChoices();
    this.#box.value = address.search;
    if (address.since && ![...this.#window.options].some(({ value }) => value === address.since)) this.#window.append(h("option", { value: address.since }, `since ${address.since}`));
    this.#window.value = address.since;
    this.#searching?.abort();
    this.#searching = undefined;
    const isSearch = namespace !== "" && address.search.trim() !== "";
    setHidden(this.#form, namespace === "");
    setHidden(this.#table.element, isSearch || namespace === "");
    this.#results.replaceChildren();
    this.#fail(null);
    this.#showScope(this.#table.choice);
    document.title = namespace === "" ? "Choose a namespace" : isSearch ? `${address.search} · ${namespace}` : `Tasks in ${namespace}`;
    if (isSearch) void this.#search();
    this.#refresh();
  }

  #submit(): void {
    const search = this.#box.value;
    if (search.trim() === "") this.#leaveSearch();
    else this.#goTo({ ...this.#address, search, since: this.#window.value, tasks: this.#address.search ? this.#address.tasks : this.#table.choice });
  }

  #leaveSearch(): void {
    this.#goTo({ ...this.#address, search: "", since: "", tasks: [] });
  }

  /** Show which tasks a search covers. */
  #showScope(chosen: string[]): void {
    const isSearch = this.#address.search !== "";
    const tasks = isSearch ? this.#address.tasks : chosen;
    const label = tasks.length === 0 ? "Search in all tasks" : tasks.length === 1 ? `Search in ${taskParts(tasks[0]).name}` : `Search in ${tasks.length} tasks`;
    this.#box.placeholder = `${label}: CUDA out of memory`;
    this.#box.setAttribute("aria-label", label);
    const all = button(`only in ${tasks.length === 1 ? taskParts(tasks[0]).name : `${tasks.length} tasks`} ✕`, "Search in all tasks", () => {
      this.#table.clearChoice();
      if (isSearch) this.#goTo({ ...this.#address, tasks: [] });
    }, { "aria-label": undefined });
    const list = button("← all tasks", "Leave the search, and show the list of tasks", () => this.#leaveSearch(), { "aria-label": undefined });
    const { selector } = this.#address;
    const labels = button(`with labels ${selector} ✕`, "Show tasks with any labels", () => this.#goTo({ ...this.#address, selector: "" }), { "aria-label": undefined });
    const hadFocus = focusedIn(this.#scope) !== null;
    this.#scope.replaceChildren(...(isSearch ? [list] : []), ...(tasks.length > 0 ? [all] : selector ? [labels] : []));
    if (hadFocus) focusOn(this.#box);
  }

  async #search(): Promise<void> {
    const abort = new AbortController();
    const view = new TaskSearchView(this.#address, () => {
      abort.abort();
      view.end(undefined, true);
      focusOn(this.#box); // the button is gone
    });
    this.#searching = abort;
    this.#results.replaceChildren(view.element);
    const { selector, tasks } = this.#address;
    const parameters = parametersOf({ ...this.#address, selector: tasks.length > 0 ? "" : selector });
    parameters.set("lines", String(LINES));
    const isCurrent = (): boolean => !abort.signal.aborted;
    await fetchEvents(fetch, this.#config, `search?${parameters}`, {
      event({ event, data }) {
        if (isCurrent()) view.event(event as keyof TaskSearchEvents, JSON.parse(data) as never);
      },
      end(problem?: Problem) {
        // A stream that ends without its last event was cut off; after that event this does nothing.
        if (isCurrent()) view.end(problem ?? { code: "SearchFailed", message: "The search was cut off", hint: "search again" });
      },
    }, abort);
  }

  /** Fetch the list now, and again and again while it is visible. */
  #refresh(): void {
    clearTimeout(this.#timer);
    const round = ++this.#round;
    if (document.hidden || this.#table.element.hidden) return;
    const again = (ms: number): void => void (this.#timer = setTimeout(() => this.#refresh(), ms));
    fetchTasks(fetch, this.#config, this.#address.namespace, this.#address.selector, FRESH_S).then(
      ({ tasks, problem, rest_s: rest = 0 }) => {
        if (round !== this.#round) return;
        this.#retry = RETRY_MS[0];
        this.#isRemembered = false;
        this.#last.set(this.#address.namespace);
        this.#table.show(tasks);
        this.#isRefused = false;
        this.#drawChoices();
        this.#fail(problem ? { ...problem, message: `The cluster cannot be asked: ${problem.message}; these tasks and states are the last that were recorded` } : null);
        again(1000 * Math.max(FRESH_S, rest));
      },
      (reason: unknown) => {
        if (round !== this.#round) return;
        const problem = reason instanceof RequestError ? reason.problem : { code: "", message: `The server does not answer: ${errorMessage(reason)}` };
        const isRefused = ["NotAllowed", "NotFound", "BadQuery"].includes(problem.code);
        if (isRefused && this.#isRemembered && this.#address.namespace !== this.shown) {
          this.#isRemembered = false;
          this.#first = this.shown;
          this.#open({ ...this.#address, namespace: "" });
          return;
        }
        this.#isRefused = isRefused && problem.code !== "BadQuery";
        this.#drawChoices();
        // What the user may not read, or what does not exist, must not stay in sight.
        if (isRefused || this.#table.isEmpty) this.#table.clear();
        this.#fail(problem);
        again(this.#retry);
        this.#retry = Math.min(2 * this.#retry, RETRY_MS[1]);
      },
    );
  }

  #fail(problem: Problem | null): void {
    setText(this.#problem, problem === null ? "" : [problem.message, problem.hint].filter(Boolean).join(" · "));
    setHidden(this.#problem, problem === null);
  }

  #visibilityChanged(): void {
    if (!document.hidden) this.#refresh();
  }

  #key(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLElement && event.target.matches("input:not([type=checkbox]), select");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.#box.focus();
      this.#box.select();
    }
  }
}

const main = document.querySelector("main");
const { cortexNamespace, cortexNamespaces, cortexCluster } = JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}") as { cortexNamespace?: string; cortexNamespaces?: string[] | null; cortexCluster?: string };
if (main !== null && cortexNamespace !== undefined) new TasksPage(main, cortexNamespace, cortexNamespaces, cortexCluster).start();

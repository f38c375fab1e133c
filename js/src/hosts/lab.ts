/**
 * A prebuilt JupyterLab extension. It opens the list of tasks from the launcher and from the View menu of Notebook 7, shows the
 * lines that a saved notebook holds, hands the user's settings to the viewers, and shows their notifications.
 *
 * Such an extension is a module federation container: JupyterLab loads the script, hands it the shared packages and asks it for
 * its plugins (https://jupyterlab.readthedocs.io/en/stable/extension/extension_dev.html#prebuilt-extensions). This one is
 * written by hand, because it needs only five tokens and a class from the page; a bundler and JupyterLab's packages in the build
 * would cost more.
 */

import { type Notice, NOTIFIER, USER_DEFAULTS } from "../client/session.ts";
import { readPageConfig } from "../transport/http.ts";
import { showSavedLines, type Tracker } from "./savedoutput.ts";

const NAME = "cortex-jupyter";
const PLUGIN = `${NAME}:plugin`;
const OPEN = `${NAME}:tasks`;

/** Lines of a log with the newest marked. `jp-icon3` and `jp-icon-brand0` are JupyterLab's classes and follow its theme. */
const ICON = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161"><path d="M3 4h3v2H3zM8 4h13v2H8zM3 9h3v2H3zM8 9h9v2H8zM3 14h3v2H3zM8 14h12v2H8z"/></g><path class="jp-icon-brand0" fill="#0d47a1" d="M3 19h3v2H3zM8 19h7v2H8z"/></svg>`;

/** Webpack's shared scope (https://webpack.js.org/concepts/module-federation/): a function that loads the module, by package and version. */
export type Shared = Record<string, Record<string, { get(): Factory | Promise<Factory> }>>;
type Factory = () => Record<string, unknown>;

interface App {
  commands: { addCommand(id: string, options: object): unknown };
  shell: { widgets(area: string): Iterable<{ id: string; node: HTMLElement }>; activateById(id: string): void };
}

interface NotebookPanel {
  id: string;
  content: { widgets: readonly { node: HTMLElement }[]; activeCellIndex: number; scrollToItem(index: number): Promise<void> };
}

interface NotebookTracker extends Tracker {
  find(isWanted: (panel: NotebookPanel) => boolean): NotebookPanel | undefined;
}

/** The part of @jupyterlab/apputils that shows notifications. */
interface NotificationCentre {
  emit(message: string, type: string, options: { autoClose: false; actions: { label: string; caption: string; callback(): void }[] }): string;
}

interface Launcher {
  add(item: object): unknown;
}

interface MainMenu {
  viewMenu: { addGroup(items: object[], rank: number): unknown };
}

interface Palette {
  addItem(item: object): unknown;
}

interface Settings {
  composite: Record<string, unknown>;
  changed: { connect(slot: () => void): unknown };
}

interface SettingRegistry {
  load(plugin: string): Promise<Settings>;
}

/** Give the viewers of this page the user's settings (schema/plugin.json), now and when they change. */
async function shareSettings(registry: SettingRegistry): Promise<void> {
  const settings = await registry.load(PLUGIN);
  const share = (): void => void ((globalThis as Record<symbol, unknown>)[USER_DEFAULTS] = settings.composite);
  settings.changed.connect(share);
  share();
}

/** Show the notifications of viewers. A notification stays until it is closed, for the user may be away. */
function showNotices(app: App, centre: NotificationCentre, tracker: NotebookTracker | null): void {
  (globalThis as Record<symbol, unknown>)[NOTIFIER] = ({ message, type, element, show }: Notice): void => {
    const callback = (): void => void bringIntoSight(app, tracker, element).then(show);
    centre.emit(message, type, { autoClose: false, actions: [{ label: "Show", caption: "Bring the log into sight", callback }] });
  };
}

/** Bring an element of a notebook, or of another tab, into sight. A cell that is out of sight may not be in the document. */
async function bringIntoSight({ shell }: App, tracker: NotebookTracker | null, element: HTMLElement): Promise<void> {
  const panel = tracker?.find(({ content }) => content.widgets.some(({ node }) => node.contains(element)));
  if (panel) {
    shell.activateById(panel.id);
    const index = panel.content.widgets.findIndex(({ node }) => node.contains(element));
    panel.content.activeCellIndex = index;
    // It rejects if another scroll comes between.
    await panel.content.scrollToItem(index).catch(() => {});
  } else {
    for (const { id, node } of shell.widgets("main")) if (node.contains(element)) shell.activateById(id);
  }
  element.scrollIntoView({ block: "nearest" });
}

/** Return a shared package's exports; an empty object if the application does not have the package. */
async function sharedModule(scope: Shared, name: string): Promise<Record<string, unknown>> {
  // The first copy is the application's own: it registers it before it loads extensions, which may bring other copies.
  const [applicationCopy] = Object.values(scope[name] ?? {});
  return applicationCopy === undefined ? {} : (await applicationCopy.get())();
}

async function plugin(scope: Shared): Promise<object> {
  const packages = ["launcher", "mainmenu", "apputils", "notebook", "settingregistry", "ui-components"].map((name) => `@jupyterlab/${name}`);
  const [{ ILauncher }, { IMainMenu }, { ICommandPalette, Notification }, { INotebookTracker }, { ISettingRegistry }, { LabIcon }] = await Promise.all(packages.map((name) => sharedModule(scope, name)));
  // If the application lacks a token, JupyterLab finds no provider for this stand-in and passes null to `activate`.
  const optional = [ILauncher, IMainMenu, ICommandPalette, INotebookTracker, ISettingRegistry].map((token, i) => token ?? { name: packages[i] });
  const icon = LabIcon && new (LabIcon as new (options: object) => object)({ name: OPEN, svgstr: ICON });
  return {
    id: PLUGIN,
    description: "Opens the list of Kubernetes tasks, with links to their logs. Shows the lines that a saved notebook holds.",
    autoStart: true,
    optional,
    activate(app: App, launcher: Launcher | null, menu: MainMenu | null, palette: Palette | null, tracker: NotebookTracker | null, settings: SettingRegistry | null): void {
      // Without its schema, for example in a JupyterLab that serves other extensions, viewers have the usual settings.
      if (settings !== null) shareSettings(settings).catch((reason: unknown) => console.warn("[cortex-jupyter]", reason));
      if (tracker !== null) showSavedLines(tracker);
      if (Notification !== undefined) showNotices(app, Notification as NotificationCentre, tracker);
      const { base } = readPageConfig();
      // The list of tasks is a page of the server extension.
      if (base === "") return;
      app.commands.addCommand(OPEN, {
        label: "Task Logs",
        caption: "Kubernetes tasks and their logs, in a page of their own",
        icon,
        execute: () => void open(`${base}view`, "_blank", "noopener"),
      });
      launcher?.add({ command: OPEN, category: "Other" });
      menu?.viewMenu.addGroup([{ command: OPEN }], 60);
      palette?.addItem({ command: OPEN, category: "Kubernetes" });
    },
  };
}

let scope: Shared = {};

const container = {
  init(given: Shared): void {
    scope = given;
  },
  /** Return the factory of the only module, `./extension`. */
  async get(): Promise<() => object> {
    const result = { __esModule: true, default: await plugin(scope) };
    return () => result;
  },
};

/** The global that JupyterLab reads containers from. */
const CONTAINERS = "_JUPYTERLAB";
const page = globalThis as unknown as Record<string, Record<string, typeof container> | undefined>;
(page[CONTAINERS] ??= {})[NAME] = container;

// @vitest-environment happy-dom
import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Notice, NOTIFIER, USER_DEFAULTS } from "../../src/client/session.ts";
import type { Shared } from "../../src/hosts/lab.ts";
import "../../src/hosts/lab.ts";

interface Plugin {
  optional: unknown[];
  activate(app: object, ...services: (object | null)[]): void;
}

interface Container {
  init(scope: Shared): void;
  get(module: string): Promise<() => { default: Plugin }>;
}

const { _JUPYTERLAB: containers } = globalThis as unknown as { _JUPYTERLAB: Record<string, Container> };
const tokens = { ILauncher: { name: "launcher" }, IMainMenu: { name: "menu" }, ICommandPalette: { name: "palette" }, INotebookTracker: { name: "tracker" }, ISettingRegistry: { name: "settings" } };
class LabIcon {
  constructor(readonly options: { svgstr: string }) {}
}
const PAGE: Shared = {
  "@jupyterlab/launcher": { "4.4.0": { get: () => () => ({ ILauncher: tokens.ILauncher }) }, "9.0.0": { get: () => () => ({ ILauncher: "another extension's copy" }) } },
  "@jupyterlab/mainmenu": { "4.4.0": { get: async () => () => ({ IMainMenu: tokens.IMainMenu }) } },
  "@jupyterlab/apputils": { "4.5.0": { get: async () => () => ({ ICommandPalette: tokens.ICommandPalette }) } },
  "@jupyterlab/notebook": { "4.4.0": { get: async () => () => ({ INotebookTracker: tokens.INotebookTracker }) } },
  "@jupyterlab/settingregistry": { "4.4.0": { get: async () => () => ({ ISettingRegistry: tokens.ISettingRegistry }) } },
  "@jupyterlab/ui-components": { "4.4.0": { get: async () => () => ({ LabIcon }) } },
};

async function loaded(scope: Shared): Promise<Plugin> {
  containers["cortex-jupyter"].init(scope);
  return (await containers["cortex-jupyter"].get("./extension"))().default;
}

function configure(config: object): void {
  const script = Object.assign(document.createElement("script"), { id: "jupyter-config-data", type: "application/json", textContent: JSON.stringify(config) });
  document.head.replaceChildren(script);
}

const added: Record<string, { icon: LabIcon; execute(): void }> = {};
const activated: string[] = [];
const tabs: { id: string; node: HTMLElement }[] = [];
const app = { shell: { widgets: () => tabs, activateById: (id: string) => void activated.push(id) }, commands: { addCommand: (id: string, options: never) => void (added[id] = options) } };

beforeEach(() => {
  delete added["cortex-jupyter:tasks"];
  configure({ baseUrl: "/user/ada/", cortexJupyter: "1", token: "secret" });
});

test("a card, a menu entry and a command open the list of tasks, and do not reveal the token", async () => {
  const plugin = await loaded(PAGE);
  expect(plugin.optional).toEqual([tokens.ILauncher, tokens.IMainMenu, tokens.ICommandPalette, tokens.INotebookTracker, tokens.ISettingRegistry]);
  const [launcher, menu, palette] = [{ add: vi.fn() }, { viewMenu: { addGroup: vi.fn() } }, { addItem: vi.fn() }];
  plugin.activate(app, launcher, menu, palette, null, null);
  const command = "cortex-jupyter:tasks";
  expect(launcher.add).toHaveBeenCalledWith(expect.objectContaining({ command }));
  expect(menu.viewMenu.addGroup).toHaveBeenCalledWith([{ command }], expect.any(Number));
  expect(palette.addItem).toHaveBeenCalledWith(expect.objectContaining({ command }));
  expect(added[command].icon.options.svgstr).toMatch(/^<svg /);
  const open = vi.spyOn(globalThis, "open").mockReturnValue(null);
  added[command].execute();
  expect(open).toHaveBeenCalledWith(`${location.origin}/user/ada/cortex/view`, "_blank", "noopener");
});

test("nothing is offered where the application has no launcher or the server no extension", async () => {
  const plugin = await loaded({});
  plugin.activate(app, null, null, null, null, null);
  expect(Object.keys(added)).toEqual(["cortex-jupyter:tasks"]);
  delete added["cortex-jupyter:tasks"];
  configure({ baseUrl: "/" });
  const launcher = { add: vi.fn() };
  plugin.activate(app, launcher, null, null, null, null);
  expect(added).toEqual({});
  expect(launcher.add).not.toHaveBeenCalled();
});

test("viewers get the user's settings, and later those that have changed", async () => {
  const plugin = await loaded(PAGE);
  const changed: (() => void)[] = [];
  const settings = { composite: { wrap: true }, changed: { connect: (slot: () => void) => void changed.push(slot) } };
  const registry = { load: vi.fn(async () => settings) };
  plugin.activate(app, null, null, null, null, registry);
  const shared = (): unknown => (globalThis as Record<symbol, unknown>)[USER_DEFAULTS];
  await vi.waitFor(() => expect(shared()).toEqual({ wrap: true }));
  expect(registry.load).toHaveBeenCalledWith("cortex-jupyter:plugin");
  settings.composite = { wrap: false };
  for (const slot of changed) slot();
  expect(shared()).toEqual({ wrap: false });
});

test("a JupyterLab without the schema of the settings still has all else", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const plugin = await loaded(PAGE);
  plugin.activate(app, null, null, null, null, { load: () => Promise.reject(new Error("404 Schema not found")) });
  await vi.waitFor(() => expect(warn).toHaveBeenCalled());
  expect(Object.keys(added)).toEqual(["cortex-jupyter:tasks"]);
});

describe("notifications", () => {
  const emit = vi.fn((_message: string, _type: string, _options: { autoClose: boolean; actions: { label: string; callback(): void }[] }) => "id");
  const withCentre: Shared = { ...PAGE, "@jupyterlab/apputils": { "4.5.0": { get: async () => () => ({ ICommandPalette: tokens.ICommandPalette, Notification: { emit } }) } } };
  const notify = (notice: Notice): void => ((globalThis as Record<symbol, unknown>)[NOTIFIER] as (one: Notice) => void)(notice);

  beforeEach(() => {
    emit.mockClear();
    activated.length = tabs.length = 0;
    delete (globalThis as Record<symbol, unknown>)[NOTIFIER];
  });

  test("stay until they are closed, and lead to the cell, which need not be in the document", async () => {
    const plugin = await loaded(withCentre);
    const cells = [0, 1].map(() => ({ node: document.createElement("div") }));
    const element = document.createElement("div");
    cells[1].node.append(element);
    const content = { widgets: cells, activeCellIndex: 0, scrollToItem: vi.fn(() => Promise.reject(new Error("another scroll"))) };
    const panels = [{ id: "other", content: { ...content, widgets: [] } }, { id: "notebook", content }];
    const tracker = { widgetAdded: { connect: () => {} }, find: (isWanted: (one: object) => boolean) => panels.find(isWanted) };
    plugin.activate(app, null, null, null, tracker, null);
    const show = vi.fn();
    notify({ message: "train-1 has ended", type: "success", element, show });
    expect(emit).toHaveBeenCalledWith("train-1 has ended", "success", expect.objectContaining({ autoClose: false }));
    expect(activated).toEqual([]);
    emit.mock.calls[0][2].actions[0].callback();
    await vi.waitFor(() => expect(show).toHaveBeenCalled());
    expect([activated, content.activeCellIndex]).toEqual([["notebook"], 1]);
    expect(content.scrollToItem).toHaveBeenCalledWith(1);
  });

  test("lead to an output in a tab of its own", async () => {
    const plugin = await loaded(withCentre);
    plugin.activate(app, null, null, null, { widgetAdded: { connect: () => {} }, find: () => undefined } as object, null);
    const element = document.createElement("div");
    tabs.push({ id: "launcher", node: document.createElement("div") }, { id: "output", node: element });
    const show = vi.fn();
    notify({ message: "x", type: "info", element, show });
    emit.mock.calls[0][2].actions[0].callback();
    await vi.waitFor(() => expect(show).toHaveBeenCalled());
    expect(activated).toEqual(["output"]);
  });

  test("are the browser's where the application shows none", async () => {
    (await loaded(PAGE)).activate(app, null, null, null, null, null);
    expect(NOTIFIER in globalThis).toBe(false);
  });
});

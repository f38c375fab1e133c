// @vitest-environment happy-dom
import { beforeEach, expect, test, vi } from "vitest";
import { USER_DEFAULTS } from "../../src/client/session.ts";
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
const app = { commands: { addCommand: (id: string, options: never) => void (added[id] = options) } };

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

// @vitest-environment happy-dom
/** Downloads where lines come through the kernel. */
import { beforeEach, expect, it, vi } from "vitest";
import { bytesOf, T0, TASK } from "../helpers.ts";
import { all, feed, find, model, page, settle, show } from "../page.ts";

page({ now: T0 });

let saved: { name: string; blob: Blob }[];

const sent = (type: string): Record<string, unknown>[] => model.sent.filter((message) => message.type === type);

function choose(label: string): void {
  find('[title^="Download the log"]').click();
  all('[role="menuitem"]').find(({ textContent }) => textContent === label)!.click();
}

beforeEach(async () => {
  saved = [];
  const blobs: Blob[] = [];
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => `blob:${blobs.push(blob as Blob) - 1}`);
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
    saved.push({ name: this.download, blob: blobs[Number(this.href.slice("blob:".length))] });
  });
  show();
  await feed([T0, 1, "one"]);
  choose("Text, all");
  await settle();
});

it("come in pieces, which are acknowledged, and become one file", async () => {
  const [{ id, client, ...request }] = sent("download");
  expect(request).toEqual({ type: "download", task: TASK, format: "txt", query: { since: "all" } });
  for (const [n, text] of ["one\n", "two\n"].entries()) {
    // The answers to another page that shows the widget.
    model.emit("msg:custom", { type: "file", id, client: "another", n: n + 1 }, [new DataView(bytesOf("other\n").buffer)]);
    model.emit("msg:custom", { type: "file", id, client, n: n + 1 }, [new DataView(bytesOf(text).buffer)]);
  }
  expect(sent("ack").filter((ack) => ack.id === id).map(({ n }) => n)).toEqual([1, 2]);
  model.emit("msg:custom", { type: "file", id, client, done: true, name: "default-train-1.txt" });
  await settle();
  expect(saved.map(({ name }) => name)).toEqual(["default-train-1.txt"]);
  expect(await saved[0].blob.text()).toBe("one\ntwo\n");
});

it("say why they fail, also if the kernel was restarted", async () => {
  const problem = (): string => find(".cl-problem").textContent ?? "";
  const [{ id, client }] = sent("download");
  model.emit("msg:custom", { type: "file", id, client, done: true, error: { code: "NotFound", message: "there is no pod nobody" } });
  await settle();
  expect(problem()).toContain("Download failed: there is no pod nobody");
  choose("Parquet, all");
  await settle(300_000);
  expect(problem()).toContain("Download failed: The kernel sent nothing");
  expect(sent("stop").at(-1)!.client).toBe(client);
  expect(saved).toEqual([]);
});

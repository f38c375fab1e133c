import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { fetchEvents } from "../../src/transport/http.ts";
import { Server, sse } from "../helpers.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("ends a search on a dead connection with a message", async () => {
  const server = new Server();
  const sink = { event: vi.fn(), end: vi.fn() };
  void fetchEvents(server.fetch, { base: "http://host/cortex/", headers: {} }, "tasks/search", sink, new AbortController());
  await vi.advanceTimersByTimeAsync(60_000);
  await server.send(sse("progress", { to: "1" }));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(sink.end).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(sink.end.mock.calls).toEqual([[{ code: "Timeout", message: "The server sent nothing for 90 s; the connection may be dead" }]]);
});

it("does not report a search that the user stopped", async () => {
  const server = new Server();
  const sink = { event: vi.fn(), end: vi.fn() };
  const abort = new AbortController();
  void fetchEvents(server.fetch, { base: "http://host/cortex/", headers: {} }, "tasks/search", sink, abort);
  await vi.advanceTimersByTimeAsync(10);
  abort.abort();
  await vi.advanceTimersByTimeAsync(200_000);
  expect(sink.end).not.toHaveBeenCalled();
});

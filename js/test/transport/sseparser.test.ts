import { createParser } from "eventsource-parser";
import { describe, expect, it } from "vitest";
import { type SseEvent, SseParser } from "../../src/transport/sseparser.ts";
import { bytesOf } from "../helpers.ts";

const STREAM = [
  ": heartbeat", "", "id: c1", "event: log", 'data: {"m":["Größe 大きい 🚀"]}', "", "data: one", "data:two", "data", "", "retry: 1500", "",
  "event: status", "id: c1,c2", "data:  spaced", "unknown: x", "averylongfieldname: y", "", "event: nothing", "", "data: last", "", "data: unfinished",
];

function oracle(text: string): SseEvent[] {
  const events: SseEvent[] = [];
  const parser = createParser({ onEvent: ({ event, data, id }) => events.push({ event: event ?? "message", data, id }) });
  parser.feed(text);
  return events;
}

function split(chunks: Uint8Array[]): SseEvent[] {
  const events: SseEvent[] = [];
  const splitter = new SseParser();
  for (const chunk of chunks) splitter.push(chunk, (event) => events.push(event));
  return events;
}

describe("the parser agrees with eventsource-parser", () => {
  for (const [name, newline] of [["LF", "\n"], ["CRLF", "\r\n"], ["CR", "\r"]]) {
    const text = STREAM.join(newline) + newline;
    const bytes = bytesOf(text);
    const expected = oracle(STREAM.join("\n") + "\n");

    it(`${name}: cut in two at every byte`, () => {
      expect(expected).toHaveLength(4);
      for (let at = 0; at <= bytes.length; at++) expect(split([bytes.slice(0, at), bytes.slice(at)])).toEqual(expected);
    });

    it(`${name}: a byte at a time`, () => {
      expect(split(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(expected);
    });
  }

  it("drops a byte order mark at the beginning only", () => {
    expect(split([bytesOf("\ufeffdata: \ufeffx\n\n")])).toEqual([{ event: "message", data: "\ufeffx", id: undefined }]);
  });

  it("keeps the reconnection time that the server asked for", () => {
    const splitter = new SseParser();
    splitter.push(bytesOf("retry: 2500\nretry: soon\n\n"), () => {});
    expect(splitter.retry).toBe(2500);
  });
});

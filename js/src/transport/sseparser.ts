/**
 * Parses server-sent events from bytes, because a chunk may end inside a character. Finding line ends with indexOf and decoding
 * whole `data:` values is also 2 to 3 times faster than splitting decoded text.
 */

export interface SseEvent {
  event: string;
  data: string;
  id?: string;
}

const LF = 10;
const CR = 13;

export class SseParser {
  /** The reconnection time that the server asked for (ms). */
  retry: number | undefined;
  /** The nodes' time from the last heartbeat (ns). */
  nodeTime: string | undefined;
  /** Number of lines that the server has not sent yet, as it last reported. */
  linesBehind = 0;
  #rest = new Uint8Array(0);
  #afterCr = false;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #isStarted = false;
  #event = "";
  #id: string | undefined;
  #data: string[] = [];

  push(chunk: Uint8Array, emit: (event: SseEvent) => void): void {
    let bytes = this.#afterCr || chunk.includes(CR) ? this.#lineFeedsOnly(chunk) : chunk;
    if (this.#rest.length > 0) {
      const joined = new Uint8Array(this.#rest.length + bytes.length);
      joined.set(this.#rest);
      joined.set(bytes, this.#rest.length);
      bytes = joined;
    }
    let start = 0;
    let end = bytes.indexOf(LF, Math.max(0, this.#rest.length));
    for (; end !== -1; end = bytes.indexOf(LF, start)) {
      this.#parseLine(bytes, start, end, emit);
      start = end + 1;
    }
    this.#rest = bytes.slice(start);
  }

  #lineFeedsOnly(chunk: Uint8Array): Uint8Array {
    const out = new Uint8Array(chunk.length);
    let length = 0;
    for (const byte of chunk) {
      if (byte !== LF || !this.#afterCr) out[length++] = byte === CR ? LF : byte;
      this.#afterCr = byte === CR;
    }
    return out.subarray(0, length);
  }

  #parseLine(bytes: Uint8Array, from: number, end: number, emit: (event: SseEvent) => void): void {
    let start = from;
    if (!this.#isStarted) {
      this.#isStarted = true;
      if (bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) start += 3;
    }
    if (start >= end) {
      if (this.#data.length > 0) emit({ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id });
      this.#event = "";
      this.#id = undefined;
      this.#data = [];
      return;
    }
    let colon = bytes.subarray(start, Math.min(end, start + 8)).indexOf(58);
    if (colon === 0) {
      const [, word, value] = /^: (hb|behind) (\d+)$/.exec(this.#decoder.decode(bytes.subarray(start, Math.min(end, start + 40)))) ?? [];
      if (word === "hb") this.nodeTime = value;
      else if (word === "behind") this.linesBehind = Number(value);
      return;
    }
    if (colon === -1) colon = end - start;
    const field = this.#decoder.decode(bytes.subarray(start, start + colon));
    const valueAt = start + colon + (bytes[start + colon + 1] === 32 ? 2 : 1);
    const value = valueAt < end ? this.#decoder.decode(bytes.subarray(valueAt, end)) : "";
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}

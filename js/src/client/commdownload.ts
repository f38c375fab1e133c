/** Downloads through the kernel, for pages that reach no server. The kernel sends a file in pieces, and waits for the page to acknowledge them. */

import type { Problem } from "../protocol/events.ts";
import { RequestError } from "../transport/http.ts";
import { MAX_SEARCH_SILENCE_MS, SilenceTimer } from "../transport/link.ts";

/** Number of bytes of pieces that are moved into the Blob at a time. The browser keeps the Blob outside the page's memory. */
const MERGE_BYTES = 16 * 2 ** 20;

export interface DownloadedFile {
  name: string;
  blob: Blob;
}

interface PendingFile {
  blob: Blob;
  pieces: Uint8Array<ArrayBuffer>[];
  bytes: number;
  silence: SilenceTimer;
  resolve(file: DownloadedFile): void;
  reject(reason: Error): void;
}

export class CommDownloads {
  /** A kernel's answers reach all pages that show the widget. The worker's requests have another name. */
  readonly #client = Math.random().toString(36).slice(2);
  readonly #files = new Map<number, PendingFile>();
  #lastId = 0;
  readonly #send: (message: Record<string, unknown>) => void;

  constructor(send: (message: Record<string, unknown>) => void) {
    this.#send = (message) => send({ client: this.#client, ...message });
  }

  start(task: string, format: string, parameters: URLSearchParams): Promise<DownloadedFile> {
    const id = ++this.#lastId;
    const query = Object.fromEntries([...new Set(parameters.keys())].map((name) => [name, parameters.getAll(name)]).map(([name, values]) => [name, values.length > 1 ? values : values[0]]));
    return new Promise((resolve, reject) => {
      const silence = new SilenceTimer(MAX_SEARCH_SILENCE_MS, () => {
        this.#end(id, { code: "Timeout", message: `The kernel sent nothing for ${MAX_SEARCH_SILENCE_MS / 1000} s; it may be busy, or was restarted` });
        this.#send({ type: "stop", id });
      });
      this.#files.set(id, { blob: new Blob(), pieces: [], bytes: 0, silence, resolve, reject });
      this.#send({ type: "download", id, task, format, query });
    });
  }

  /** Take a message of the kernel. Return whether it was meant for a download of this page. */
  receive(message: Record<string, unknown>, bytes?: Uint8Array<ArrayBuffer>): boolean {
    if (message.type !== "file") return false;
    const id = Number(message.id);
    const file = message.client === this.#client ? this.#files.get(id) : undefined;
    if (file === undefined) return true;
    file.silence.heard();
    if (bytes !== undefined) {
      file.pieces.push(bytes);
      file.bytes += bytes.length;
      this.#send({ type: "ack", id, n: message.n });
    }
    if (file.bytes > MERGE_BYTES || message.done === true) {
      file.blob = new Blob([file.blob, ...file.pieces]);
      file.pieces = [];
      file.bytes = 0;
    }
    if (message.done === true) this.#end(id, message.error as Problem | undefined, String(message.name));
    return true;
  }

  close(): void {
    for (const id of this.#files.keys()) {
      this.#send({ type: "stop", id });
      this.#end(id, { code: "Closed", message: "The viewer was closed" });
    }
  }

  #end(id: number, problem?: Problem, name = ""): void {
    const file = this.#files.get(id);
    this.#files.delete(id);
    file?.silence.stop();
    if (problem === undefined) file?.resolve({ name, blob: file.blob });
    else file?.reject(new RequestError(problem));
  }
}

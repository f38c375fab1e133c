/** The requests to the server extension, and the errors that it answers. */

import type { LogPage, NamespaceList, OutlineDoc, Problem, TaskList } from "../protocol/events.ts";
import type { PageConfig } from "../protocol/messages.ts";
import { errorMessage, taskParts } from "../text/format.ts";
import { type EventSink, MAX_SEARCH_SILENCE_MS, MAX_SILENCE_MS, OUTLINE_BINS, type PageQuery, type SearchQuery, SilenceTimer } from "./link.ts";
import { SseParser } from "./sseparser.ts";

/** Return the server's settings from the page's configuration. If our key is missing there, the server extension is not installed. */
export function readPageConfig(page: Document = document): PageConfig {
  const headers: Record<string, string> = {};
  let config: Record<string, string> = {};
  try {
    config = JSON.parse(page.getElementById("jupyter-config-data")?.textContent ?? "{}") as Record<string, string>;
  } catch (reason) {
    console.warn("[cortex-jupyter] the page's configuration could not be read", reason);
  }
  if (!config.baseUrl || !config.cortexJupyter) return { base: "", headers };
  if (config.token) headers.Authorization = `token ${config.token}`;
  const xsrf = /(?:^|;\s*)_xsrf=([^;]*)/.exec(page.cookie)?.[1];
  if (xsrf) headers["X-XSRFToken"] = decodeURIComponent(xsrf);
  const root = new URL(config.baseUrl.replace(/\/?$/, "/"), page.location.origin);
  return { base: root.href + (config.cortexPath ?? "cortex/"), headers };
}

/**
 * Add a header that names the cluster and store of the tasks; "" stands for the server's own. A server that reads another cluster
 * or store refuses the request (server/base.py).
 */
export function withOrigin(config: PageConfig, origin: string): PageConfig {
  return origin === "" ? config : { ...config, headers: { ...config.headers, "X-Cortex-Origin": origin } };
}

/** Return the path of `ns:kind/name` below `{base}`. */
export function taskPath(task: string): string {
  const { namespace, kind, name } = taskParts(task);
  return `tasks/${[namespace, kind, name].map(encodeURIComponent).join("/")}`;
}

const STATUS_MESSAGES: Record<number, string> = {
  400: "The server did not understand the request",
  401: "The server does not know who you are",
  403: "The server does not allow this",
  404: "There is no such task",
  410: "The place in the recording is not held any more",
  429: "The server's limit of open streams is reached",
};

/** Read the problem from an error response. Our errors have a JSON body. A 404 without one comes from another handler; its code is "". */
export async function readProblem(response: Response): Promise<Problem> {
  try {
    const body = (await response.json()) as { error?: Partial<Problem> };
    if (body.error?.message) return { code: body.error.code ?? String(response.status), message: body.error.message, hint: body.error.hint };
  } catch {
    // Not JSON: from a proxy or another handler.
  }
  const hint = response.status === 401 || response.status === 403 ? "Sign in again; another tab will do." : "";
  const code = response.status === 404 ? "" : `Http${response.status}`;
  return { code, message: STATUS_MESSAGES[response.status] ?? `The server answered ${response.status}`, hint };
}

export class RequestError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

export async function fetchPage(fetcher: typeof fetch, config: PageConfig, task: string, query: PageQuery): Promise<LogPage> {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined).map(([name, value]) => [name, String(value)]));
  return (await fetchJson(fetcher, config, `${taskPath(task)}/logs?${parameters}`)) as LogPage;
}

export async function fetchOutline(fetcher: typeof fetch, config: PageConfig, task: string, levels: boolean): Promise<OutlineDoc> {
  return (await fetchJson(fetcher, config, `${taskPath(task)}/outline?bins=${OUTLINE_BINS}${levels ? "&levels=true" : ""}`)) as OutlineDoc;
}

/** List the tasks of a namespace. The answer may be some seconds old: all pages share it. */
export async function fetchTasks(fetcher: typeof fetch, config: PageConfig, namespace: string, selector: string, maxAge: number): Promise<TaskList> {
  const parameters = new URLSearchParams({ namespace, ...(selector && { selector }), max_age: String(maxAge) });
  return (await fetchJson(fetcher, config, `tasks?${parameters}`)) as TaskList;
}

export async function fetchNamespaces(fetcher: typeof fetch, config: PageConfig): Promise<NamespaceList> {
  return (await fetchJson(fetcher, config, "namespaces")) as NamespaceList;
}

export function fetchSearch(fetcher: typeof fetch, config: PageConfig, task: string, query: SearchQuery, sink: EventSink, abort: AbortController): Promise<void> {
  const pairs = Object.entries(query).flatMap(([name, value]: [string, string | string[] | undefined]) => (value === undefined ? [] : [value].flat().map((one): [string, string] => [name, one])));
  return fetchEvents(fetcher, config, `${taskPath(task)}/search?${new URLSearchParams(pairs)}`, sink, abort);
}

/** Abort a request when the connection is dead. It can be dead without an error, such as after the machine has slept. */
function abortOnSilence(abort: AbortController, ms: number): SilenceTimer {
  return new SilenceTimer(ms, () => abort.abort(new RequestError({ code: "Timeout", message: `The server sent nothing for ${ms / 1000} s; the connection may be dead` })));
}

/** Read events until the server ends them, or `abort` does. */
export async function fetchEvents(fetcher: typeof fetch, config: PageConfig, path: string, sink: EventSink, abort: AbortController): Promise<void> {
  const headers = { ...config.headers, Accept: "text/event-stream" };
  const { signal } = abort;
  const silence = abortOnSilence(abort, MAX_SEARCH_SILENCE_MS);
  try {
    const response = await fetcher(`${config.base}${path}`, { headers, credentials: "same-origin", cache: "no-store", signal });
    if (!response.ok || response.body === null) {
      sink.end(await readProblem(response));
      return;
    }
    const splitter = new SseParser();
    const reader = response.body.getReader();
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
      silence.heard();
      splitter.push(value!, (event) => sink.event(event));
    }
    if (!signal.aborted) sink.end();
  } catch (reason) {
    // Not every browser passes the reason on.
    if (signal.reason instanceof RequestError) sink.end(signal.reason.problem);
    else if (!signal.aborted) sink.end({ code: "SearchFailed", message: `The answer was cut off: ${errorMessage(reason)}` });
  } finally {
    silence.stop();
  }
}

async function fetchJson(fetcher: typeof fetch, config: PageConfig, path: string): Promise<unknown> {
  const headers = { ...config.headers, Accept: "application/json" };
  const abort = new AbortController();
  const silence = abortOnSilence(abort, MAX_SILENCE_MS);
  try {
    const response = await fetcher(`${config.base}${path}`, { headers, credentials: "same-origin", signal: abort.signal });
    if (!response.ok) throw new RequestError(await readProblem(response));
    const heard = new TransformStream<Uint8Array, Uint8Array>({
      transform(bytes, controller) {
        silence.heard();
        controller.enqueue(bytes);
      },
    });
    return await new Response(response.body!.pipeThrough(heard)).json();
  } catch (reason) {
    throw abort.signal.reason ?? reason;
  } finally {
    silence.stop();
  }
}

/** What the page says of its Jupyter server. Evidence only: without our key in the page's configuration there is no server half. */

import type { PageConfig } from "../types/messages.ts";

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
  return { base: `${root.href}cortex/`, headers };
}

/** The same, and asked with it a server refuses whose cluster and store are others than `origin` (server/base.py); "" is the server's own. */
export function withOrigin(config: PageConfig, origin: string): PageConfig {
  return origin === "" ? config : { ...config, headers: { ...config.headers, "X-Cortex-Origin": origin } };
}

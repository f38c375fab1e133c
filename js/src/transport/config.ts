/** What the page says of its Jupyter server. Evidence only: without our key in the page's configuration there is no server half. */

import type { PageConfig } from "../types/messages.ts";

export function pageConfig(page: Document = document): PageConfig {
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

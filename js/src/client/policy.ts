/** Which directives of the page's Content-Security-Policy have forbidden code of ours, which is started from blob: addresses. */

/** How long a browser may take to report that a policy has forbidden something (ms). */
const REPORTED_MS = 500;

const forbidden = new Set<string>();

if (typeof document !== "undefined") {
  document.addEventListener("securitypolicyviolation", ({ blockedURI, effectiveDirective, disposition }) => {
    // What forbids a script or worker of another extension forbids ours too; its images and requests are no concern of ours.
    if (disposition !== "report" && blockedURI.startsWith("blob") && /^(script|worker)-/.test(effectiveDirective)) forbidden.add(effectiveDirective);
  });
}

/** Return why code of ours (`what`) may not run in this page, and what would help; null if no policy has forbidden it yet. */
export function policyProblem(what = "The log viewer"): { message: string; hint: string } | null {
  if (forbidden.size === 0) return null;
  const directives = [...forbidden].toSorted();
  return {
    message: `${what} cannot run here: this page's Content-Security-Policy forbids its code (${directives.join(" and ")} without blob:)`,
    // `script-src-elem` falls back to `script-src`, which pages usually set.
    hint: `The server's operator can add blob: to ${directives.map((name) => name.replace("-elem", "")).join(" or ")}.`,
  };
}

/** Return the same after a failure, which a browser may report only later. */
export async function reportedPolicyProblem(what?: string): Promise<ReturnType<typeof policyProblem>> {
  if (forbidden.size === 0) await new Promise((resolve) => setTimeout(resolve, REPORTED_MS));
  return policyProblem(what);
}

// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { policyProblem } from "../../src/client/policy.ts";

function violate(blockedURI: string, effectiveDirective: string, disposition = "enforce"): void {
  document.dispatchEvent(Object.assign(new Event("securitypolicyviolation"), { blockedURI, effectiveDirective, disposition }));
}

test("names the directives that forbid code from blob:, and nothing else that the page forbids", () => {
  violate("blob", "img-src");
  violate("blob", "connect-src");
  violate("blob", "worker-src", "report");
  violate("https://cdn.example/a.js", "script-src-elem");
  expect(policyProblem()).toBeNull();
  violate("blob", "worker-src");
  violate("blob", "script-src-elem");
  expect(policyProblem()).toEqual({ message: expect.stringContaining("(script-src-elem and worker-src without blob:)"), hint: expect.stringContaining("add blob: to script-src or worker-src") });
});

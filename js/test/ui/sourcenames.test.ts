import { expect, test } from "vitest";
import type { ContainerSummary } from "../../src/protocol/update.ts";
import { shortPods, sourceEntries, sourceLabels } from "../../src/ui/sourcenames.ts";

const short = (task: string, ...pods: string[]): string[] => [...shortPods(pods, task).values()];

test("pods of a Job are told apart by their generated ends", () => {
  expect(short("train", "train-x2k4f", "train-bb7zq")).toEqual(["x2k4f", "bb7zq"]);
});

test("generated ends are dropped if the names differ without them", () => {
  expect(short("api", "api-web-7d4b9c8f6d-x2k4f", "api-job-7d4b9c8f6d-bb7zq")).toEqual(["web", "job"]);
});

test("a single name that happens to look generated is kept", () => {
  expect(short("train-demo", "train-demo-0b70c", "train-demo-2dc06", "train-demo-bcdf2")).toEqual(["0b70c", "2dc06", "bcdf2"]);
});

test("a ReplicaSet's hash is dropped if it tells nothing", () => {
  expect(short("app=x", "trainer-7d9c6b5f4d-x2x9k", "trainer-7d9c6b5f4d-bb7zq", "web-5f7c8d9b6c-x2x9k")).toEqual(["trainer-x2x9k", "trainer-bb7zq", "web-x2x9k"]);
  expect(short("trainer", "trainer-7d9c6b5f4d-x2x9k", "trainer-7d9c6b5f4d-bb7zq")).toEqual(["x2x9k", "bb7zq"]);
});

test("during a rollout the hash tells an old pod from a new one", () => {
  expect(short("trainer", "trainer-7d9c6b5f4d-x2x9k", "trainer-7d9c6b5f4d-bb7zq", "trainer-5f7c8d9b6c-c4wvd")).toEqual(["7d9c6b5f4d-x2x9k", "7d9c6b5f4d-bb7zq", "5f7c8d9b6c-c4wvd"]);
});

test("long names lose the words that all begin with, short ones keep them", () => {
  expect(short("app=x", "recommender-embedding-worker-0", "recommender-embedding-worker-1", "recommender-embedding-ps-0")).toEqual(["worker-0", "worker-1", "ps-0"]);
  expect(short("app=x", "web-0", "web-1")).toEqual(["web-0", "web-1"]);
});

const sourceOf = (pod: string, container = "main"): ContainerSummary => ({ key: `${pod}/${container}`, task: "ml:selector/app=x", pod, container, kind: "main", hue: 0, on: true, runs: [], index: null, lines: 0, state: "running", exit: null, node: "", lastLineAt: 0 });

test("a name that is still too long is cut in the middle, as long as pods stay different", () => {
  const pods = ["evaluator-gateway-5f7c8d9b6c-x2x9k", "evaluator-gateway-5f7c8d9b6c-bb7zq", "web-5f7c8d9b6c-x2x9k"];
  expect(sourceLabels(pods.map((pod) => sourceOf(pod))).map((label) => label.short)).toEqual(["evaluat…-x2x9k", "evaluat…-bb7zq", "web-x2x9k"]);
  const alike = ["recommendations1-worker-0", "recommendations2-worker-0"];
  expect(sourceLabels(alike.map((pod) => sourceOf(pod))).map((label) => label.short)).toEqual(alike);
});

test("the list names a container only if its pod has several", () => {
  const sources = [sourceOf("web-0"), sourceOf("web-0", "exporter"), sourceOf("web-1")];
  expect(sourceEntries(sources).map(({ name }) => name)).toEqual(["web-0 exporter", "web-0 main", "web-1"]);
});

import { describe, expect, test } from "vitest";
import type { ContainerSummary } from "../../src/protocol/update.ts";
import { mainContainers, roleGroups, shortPods, sourceEntries, sourceLabels } from "../../src/ui/sourcenames.ts";

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

const sourceOf = (pod: string, container = "main"): ContainerSummary => ({ key: `${pod}/${container}`, task: "ml:selector/app=x", pod, container, kind: "main", role: "", rank: "", attempt: "", mainContainer: "", colour: 0, on: true, runs: [], index: null, lines: 0, errors: 0, state: "running", exit: null, node: "", lastLineAt: 0 });

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

describe("the main container of a pod with several", () => {
  const mains = (sources: ContainerSummary[]): string[] => [...mainContainers(sources)];
  const two = (pod: string, known = ""): ContainerSummary[] => ["agent", "train"].map((container) => ({ ...sourceOf(pod, container), mainContainer: known }));

  test("is the one that the pod names", () => {
    expect(mains(two("a", "train"))).toEqual(["a/train"]);
    expect(mains([...two("a", "train"), ...two("b", "agent")])).toEqual(["a/train", "b/agent"]);
    // Only the notice of one run may be known.
    expect(mains([sourceOf("a", "agent"), { ...sourceOf("a", "train"), mainContainer: "train" }])).toEqual(["a/train"]);
  });

  test("that is not known is the one of the task's other pods, else the one that most pods have, else the first", () => {
    expect(mains([...two("a"), ...two("b", "train")])).toEqual(["a/train", "b/train"]);
    expect(mains([...two("a"), sourceOf("b", "train")])).toEqual(["a/train", "b/train"]);
    expect(mains(two("a"))).toEqual(["a/agent"]);
  });

  test("is the only one of its kind in most pods; init containers, sidecars and a container not yet seen are none", () => {
    expect(mains([sourceOf("a"), { ...sourceOf("a", "proxy"), kind: "sidecar" }, { ...sourceOf("a", "prepare"), kind: "init" }])).toEqual(["a/main"]);
    expect(mains([{ ...sourceOf("a", "agent"), mainContainer: "train" }])).toEqual([]);
  });

  test("is marked in the list", () => {
    expect(sourceEntries([...two("a", "train"), { ...sourceOf("a", "proxy"), kind: "sidecar" }]).map(({ name, isMain }) => [name, isMain])).toEqual([["a agent", false], ["a train", true], ["proxy", false]]);
  });
});

describe("sources with a role", () => {
  const member = (pod: string, role: string, rank = "", attempt = "", container = "main"): ContainerSummary => ({ ...sourceOf(pod, container), role, rank, attempt });
  const ranks = Array.from({ length: 16 }, (_unused, i) => member(`tune-9x2kd-gpu-worker-${(i * 37) % 100}`, "worker", String((i * 5) % 16)));
  const names = (sources: ContainerSummary[]): string[] => sourceEntries(sources).map(({ name }) => name);
  const labels = (sources: ContainerSummary[]): string[] => sourceLabels(sources).map((label) => label.short);
  const groups = (sources: ContainerSummary[]): string[] => roleGroups(sourceEntries(sources)).map(({ name }) => name);

  test("are named by role and rank, with the container if their pod has several; the whole name is beside it", () => {
    const sources = [member("tune-head-x2k4f", "driver"), member("tune-a", "worker", "3"), member("tune-a", "worker", "3", "", "exporter"), member("tune-b", "worker", "0")];
    expect(labels(sources)).toEqual(["driver", "worker-3 main", "worker-3 exporter", "worker-0"]);
    expect(sourceLabels(sources).map(({ full }) => full)).toEqual(["tune-head-x2k4f · main", "tune-a · main", "tune-a · exporter", "tune-b · main"]);
    expect(names(sources)).toEqual(["driver", "worker-0", "worker-3 exporter", "worker-3 main"]);
    expect(sourceEntries(sources)[1].full).toBe("tune-b main");
  });

  test("are listed by rank in numeric order, below a heading with their number; a role of one source needs none and comes first", () => {
    const sources = [...ranks, member("tune-9x2kd-head", "zookeeper"), sourceOf("tune-submitter")];
    expect(names(sources)).toEqual(["submitter", "zookeeper", ...ranks.map((_unused, i) => `worker-${i}`)]);
    expect(groups(sources)).toEqual(["worker ×16"]);
    expect(names([member("a", "node", "1-10"), member("b", "node", "1-9"), member("c", "node", "0-11")])).toEqual(["node-0-11", "node-1-9", "node-1-10"]);
    expect(groups([member("a", "worker", "0"), member("b", "worker", "1"), member("c", "ps", "0"), member("d", "ps", "1")])).toEqual(["ps ×2", "worker ×2"]);
    expect(groups([member("a", "worker"), sourceOf("b")])).toEqual([]);
  });

  test("of several attempts show it in the list, the newest first", () => {
    const sources = [member("a", "worker", "1", "9"), member("b", "worker", "0", "9"), member("c", "worker", "1", "10"), member("d", "worker", "2", "9"), member("e", "worker", "3", "10")];
    expect(names(sources)).toEqual(["worker-1 · attempt 10", "worker-3", "worker-0", "worker-1 · attempt 9", "worker-2"]);
    expect(labels(sources)).toEqual(["worker-1", "worker-0", "worker-1", "worker-2", "worker-3"]);
  });

  test("that share role, rank and attempt are told apart by the ends of their pods' names", () => {
    const sources = [member("wf-train-x2k4f", "train"), member("wf-train-bb7zq", "train"), member("wf-check-c4wvd", "check")];
    expect(names(sources)).toEqual(["check", "train bb7zq", "train x2k4f"]);
    expect(labels(sources)).toEqual(["train x2k4f", "train bb7zq", "check"]);
  });

  test("keep the rank if the role is too long for a row", () => {
    expect(labels([member("a", "parameter-server", "1"), member("b", "parameter-server", "12")])).toEqual(["parameter-s…-1", "parameter-…-12"]);
    const alike = [member("a", "recommendations1", "0"), member("b", "recommendations2", "0")];
    expect(labels(alike)).toEqual(["recommendations1-0", "recommendations2-0"]);
  });

  test("have their init containers and sidecars below, once each as everywhere", () => {
    const sidecars = ["a", "b"].map((pod, i): ContainerSummary => ({ ...member(pod, "worker", String(i), "", "proxy"), kind: "sidecar" }));
    expect(names([member("a", "worker", "0"), member("b", "worker", "1"), ...sidecars])).toEqual(["worker-0", "worker-1", "proxy ×2"]);
  });

  test("a rank without a role changes nothing", () => {
    const sources = [sourceOf("web-b"), sourceOf("web-a")];
    const ranked = sources.map((source, i) => ({ ...source, rank: String(i), attempt: String(i) }));
    expect(sourceLabels(ranked)).toEqual(sourceLabels(sources));
    expect(sourceEntries(ranked)).toEqual(sourceEntries(sources));
  });
});

import { expect, test } from "vitest";
import { shortPods } from "../src/view/names.ts";

const short = (task: string, ...pods: string[]): string[] => [...shortPods(pods, task).values()];

test("pods of a Job are told apart by their random ends", () => {
  expect(short("train", "train-x2k4f", "train-bb7zq")).toEqual(["x2k4f", "bb7zq"]);
});

test("random ends go where the names differ without them", () => {
  expect(short("api", "api-web-7d4b9c8f6d-x2k4f", "api-job-7d4b9c8f6d-bb7zq")).toEqual(["web", "job"]);
});

test("one name that happens to end like a random one does not become the task's", () => {
  expect(short("train-demo", "train-demo-0b70c", "train-demo-2dc06", "train-demo-bcdf2")).toEqual(["0b70c", "2dc06", "bcdf2"]);
});

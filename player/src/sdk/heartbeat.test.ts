import { expect, test } from "vitest";
import { Heartbeat } from "./heartbeat";

/** Feeds a counter every half second and returns what was heard. */
function listen(...bytes: number[]) {
  const heartbeat = new Heartbeat();
  return bytes.map((count, index) => heartbeat.sample(index * 500, count)).filter(Boolean);
}

test("silence after regular feedback is heard once, and so is the return", () => {
  expect(listen(1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6)).toEqual(["silent", "back"]);
});

test("a short silence is none", () => {
  expect(listen(1, 2, 3, 4, 5, 5, 5, 5, 5, 6, 7)).toEqual([]);
});

test("a server without feedback is not taken for a lost path", () => {
  expect(listen(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)).toEqual([]);
  expect(listen(1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3)).toEqual([]);
});

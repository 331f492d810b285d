import { expect, test } from "vitest";
import { layoutTitle, mayDirect } from "./direct";

test("a layout is called as a person says it", () => {
  expect(layoutTitle("picture-in-picture")).toBe("Picture in picture");
});

test("hosts and producers direct", () => {
  expect(["host", "producer", "speaker", "viewer", undefined].map((role) => mayDirect(role as "host"))).toEqual([true, true, false, false, false]);
});

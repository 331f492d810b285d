import { expect, test } from "vitest";
import { behindText } from "./follow";

test("latency is said to a tenth where it is small", () => {
  const check = (latency: number, expected: string) => expect(behindText(latency)).toBe(expected);
  check(0.5512, "0.6 s behind live");
  check(9.94, "9.9 s behind live");
  check(65.2, "1:05 behind live");
  check(Number.NaN, "");
  check(-1, "");
});

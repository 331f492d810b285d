import { expect, test } from "vitest";
import { ago, clockTime } from "./time";

test("clock times have hours only when they need them", () => {
  const check = (seconds: number, expected: string) => expect(clockTime(seconds)).toBe(expected);
  check(0, "0:00");
  check(245.9, "4:05");
  check(3723, "1:02:03");
  check(-3, "0:00");
});

test("what was long ago has a date", () => {
  const now = new Date("2026-11-20T12:00:00Z");
  const check = (before: string, expected: string) => expect(ago(new Date(before), now)).toBe(expected);
  check("2026-11-20T11:59:30Z", "just now");
  check("2026-11-20T11:55:00Z", "5 min ago");
  check("2026-11-20T08:30:00Z", "3 h ago");
  expect(ago(new Date("2026-11-01T08:30:00Z"), now)).toContain("2026");
  expect(ago(new Date("nonsense"), now)).toBe("");
});

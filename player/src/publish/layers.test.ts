import { expect, test } from "vitest";
import { Lately, STAYS_MS, useful } from "./layers";

test("no layer is sent that is larger than it is shown", () => {
  const check = (players: number, height: number, layers: string, captured = 720) =>
    expect(useful(captured, { players, height }).join("")).toBe(layers);
  check(0, 0, "f");
  check(0, 800, "f");
  check(2, 800, "qhf");
  check(2, 400, "qh");
  check(2, 200, "q");
  check(2, 600, "qh", 1080);
  check(1, 2400, "qhf");
  // Nobody shows it: then nothing says how large it will be.
  check(1, 0, "qhf");
});

test("what was large stays so for a while", () => {
  const lately = new Lately();
  expect(lately.of(0, 0)).toBe(0);
  expect(lately.of(800, 1)).toBe(800);
  expect(lately.of(200, 50_000)).toBe(800);
  expect(lately.of(400, 50_000 + STAYS_MS - 1)).toBe(800);
  expect(lately.of(0, 50_000 + STAYS_MS)).toBe(800);
  expect(lately.of(400, 50_000 + STAYS_MS)).toBe(400);
  expect(lately.of(600, 70_000)).toBe(600);
  expect(lately.of(400, 70_001)).toBe(600);
  expect(lately.of(600, 70_002)).toBe(600);
  expect(lately.of(400, 70_001 + STAYS_MS)).toBe(600);
});

import { expect, test } from "vitest";
import { LATENCY, LatencyController } from "./latency";

/** Plays `seconds` of a perfect network and returns where playback ends up. */
function settle(controller: LatencyController, latency: number, seconds: number, start = 0): number {
  const step = 0.1;
  for (let now = start; now < start + seconds; now += step) {
    const { rate, jump, target } = controller.update({ now, latency, buffered: latency });
    latency = jump ? target : latency - (rate - 1) * step;
  }
  return latency;
}

test("comes to the target from either side and stays", () => {
  for (const from of [0.2, 0.5, 1.2, 3]) {
    expect(settle(new LatencyController(), from, 60)).toBeCloseTo(LATENCY.target, 1);
  }
});

test("far behind, it jumps, and sooner while it has not arrived", () => {
  const controller = new LatencyController();
  const jumps = (latency: number) => controller.update({ now: 0, latency, buffered: 3 }).jump;
  expect(jumps(1.0)).toBe(false);
  expect(jumps(1.2)).toBe(true);
  expect(jumps(0.5)).toBe(false);
  expect(jumps(3.4)).toBe(false);
  expect(jumps(3.6)).toBe(true);
});

test("at the target the speed is exactly 1, and a little drift is left alone", () => {
  const controller = new LatencyController();
  controller.update({ now: 0, latency: 0.5, buffered: 0.4 });
  for (const latency of [0.5, 0.53, 0.47, 0.55, 0.45]) {
    expect(controller.update({ now: 0, latency, buffered: 0.4 }).rate).toBe(1);
  }
  expect(controller.update({ now: 0, latency: 0.6, buffered: 0.4 }).rate).toBeGreaterThan(1);
});

test("never speeds up into an empty buffer, and stays within what ears allow", () => {
  const controller = new LatencyController();
  controller.update({ now: 0, latency: 0.5, buffered: 0.5 });
  expect(controller.update({ now: 0, latency: 2, buffered: 0.05 }).rate).toBe(1);
  expect(controller.update({ now: 0, latency: 2, buffered: 2 }).rate).toBe(LATENCY.maxRate);
  expect(controller.update({ now: 0, latency: 0.01, buffered: 0.01 }).rate).toBe(LATENCY.minRate);
});

test("each stall keeps more distance, up to a limit", () => {
  const controller = new LatencyController();
  controller.stalled(0);
  expect(controller.currentTarget).toBeCloseTo(0.8);
  for (let i = 0; i < 50; i++) controller.stalled(i);
  expect(controller.currentTarget).toBe(LATENCY.maxTarget);
});

test("calm brings the latency back, later after more stalls", () => {
  const once = new LatencyController();
  once.stalled(0);
  settle(once, 0.8, 29);
  expect(once.currentTarget).toBeCloseTo(0.8);
  settle(once, 0.8, 200, 29);
  expect(once.currentTarget).toBe(LATENCY.target);

  const often = new LatencyController();
  for (let i = 0; i < 4; i++) often.stalled(0);
  settle(often, 1.7, 230);
  expect(often.currentTarget).toBeCloseTo(1.7);
});

test("a buffer that almost runs dry gets a little more distance, without a stall", () => {
  const controller = new LatencyController();
  for (let now = 0; now < 2.9; now += 0.1) controller.update({ now, latency: 0.5, buffered: 0.06 });
  expect(controller.currentTarget).toBeCloseTo(0.55);
});

test("calm does not bring back a latency that left no reserve", () => {
  const controller = new LatencyController();
  controller.stalled(0);
  for (let now = 0; now < 100; now += 0.1) controller.update({ now, latency: 0.8, buffered: 0.15 });
  expect(controller.currentTarget).toBeCloseTo(0.8);
});

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

/** A stall that adds all that one may. */
const LONG = 1;

test("a short stall keeps as much more distance as was missing, and a little", () => {
  const controller = new LatencyController();
  controller.stalled(0, 0.1);
  expect(controller.currentTarget).toBeCloseTo(0.68);
});

test("each stall keeps more distance, up to a limit", () => {
  const controller = new LatencyController();
  controller.stalled(0, LONG);
  expect(controller.currentTarget).toBeCloseTo(0.8);
  for (let i = 0; i < 50; i++) controller.stalled(i, LONG);
  expect(controller.currentTarget).toBe(LATENCY.maxTarget);
});

/** Parts come late by this much of what is kept ahead. */
const NETWORK = 0.35;

function hold(controller: LatencyController, from: number, seconds: number): void {
  for (let now = from; now < from + seconds; now += 0.1) {
    const latency = controller.currentTarget;
    controller.update({ now, latency, buffered: latency - NETWORK });
  }
}

test("calm brings the latency back at once by what was not needed", () => {
  const controller = new LatencyController();
  controller.stalled(0, LONG);
  hold(controller, 0, 14);
  expect(controller.currentTarget).toBeCloseTo(0.8);
  hold(controller, 14, 2);
  expect(controller.currentTarget).toBeCloseTo(0.8 - (0.8 - NETWORK - 0.16));
});

test("who stalls again soon after is closer again later, and sooner when that is over", () => {
  const controller = new LatencyController();
  for (const at of [0, 6, 12, 18]) controller.stalled(at, LONG);
  expect(controller.currentTarget).toBeCloseTo(1.7);
  hold(controller, 18, 115);
  expect(controller.currentTarget).toBeCloseTo(1.7);
  hold(controller, 133, 400);
  expect(controller.currentTarget).toBeLessThan(0.6);
  controller.stalled(533, LONG);
  hold(controller, 533, 65);
  expect(controller.currentTarget, "not two minutes later").toBeLessThan(0.6);
});

test("several stalls of one moment pass as one does", () => {
  const controller = new LatencyController();
  for (const at of [0, 1, 2]) controller.stalled(at, LONG);
  expect(controller.currentTarget).toBeCloseTo(1.4);
  hold(controller, 2, 16);
  expect(controller.currentTarget).toBeLessThan(0.6);
});

test("a buffer that almost runs dry gets a little more distance, without a stall", () => {
  const controller = new LatencyController();
  for (let now = 0; now < 2.9; now += 0.1) controller.update({ now, latency: 0.5, buffered: 0.06 });
  expect(controller.currentTarget).toBeCloseTo(0.55);
});

test("calm does not bring back a latency that left no reserve", () => {
  const controller = new LatencyController();
  controller.stalled(0, LONG);
  for (let now = 0; now < 100; now += 0.1) controller.update({ now, latency: 0.8, buffered: 0.2 });
  expect(controller.currentTarget).toBeCloseTo(0.8);
});

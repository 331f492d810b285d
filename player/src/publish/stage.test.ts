import { expect, test } from "vitest";
import type { Member, MemberTrack } from "../sdk/session";
import { initials, mutedNote, tiles } from "./stage";

const track = (source: MemberTrack["source"], more: Partial<MemberTrack> = {}): MemberTrack =>
  ({ source, muted: false, paused: false, players: 0, height: 0, mid: "0", media: null, ...more });

const member = (id: string, tracks: MemberTrack[], more: Partial<Member> = {}): Member =>
  ({ id, name: id, role: "speaker", self: false, publishing: true, away: false, on_stage: true, muted: [], speaking: false, tracks, ...more });

test("everybody else has a tile, and screens come first", () => {
  const views = tiles([
    member("me", [track("camera")], { self: true }),
    member("ann", [track("microphone"), track("camera")], { speaking: true }),
    member("bob", [track("microphone", { muted: true }), track("screen")]),
    member("cleo", [], { publishing: false }),
  ]);
  expect(views.map((view) => [view.key, view.kind])).toEqual(
    [["bob/screen", "screen"], ["ann", "camera"], ["bob", "none"], ["cleo", "none"]]);
  expect(views[1]).toMatchObject({ speaking: true, silent: false, note: "" });
  expect(views[2]).toMatchObject({ silent: true, note: "Camera off" });
  expect(views[3]).toMatchObject({ silent: false, note: "Listening" });
});

test("a tile says why there is no picture", () => {
  const note = (one: Member) => tiles([one])[0]?.note;
  expect(note(member("a", [track("camera", { paused: true })]))).toContain("paused");
  expect(note(member("a", [], { away: true }))).toContain("lost");
});

test("initials are of the first and the last name", () => {
  const check = (name: string, expected: string) => expect(initials(name)).toBe(expected);
  check("Ann Bea Cole", "AC");
  check("zoë", "Z");
  check("  ", "?");
});

test("who is muted by a producer is told of what", () => {
  expect(mutedNote([])).toBe("");
  expect(mutedNote(["microphone"])).toBe("A producer muted your microphone: nobody gets it now.");
  expect(mutedNote(["camera", "microphone", "screen-audio"]))
    .toBe("A producer muted your camera, microphone and screen's sound: nobody gets it now.");
});

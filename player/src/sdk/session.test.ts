import { expect, test } from "vitest";
import { members, type ToldMember } from "./session";

const ann: ToldMember = {
  id: "a", name: "Ann", role: "host", publishing: true, away: false, on_stage: true, muted: [],
  tracks: [{ source: "camera", muted: false, players: 1, height: 0, mid: null }],
};
const bob: ToldMember = {
  id: "b", name: "Bob", role: "speaker", publishing: true, away: false, on_stage: true, muted: [],
  tracks: [
    { source: "microphone", muted: true, players: 1, height: 0, mid: "0" },
    { source: "camera", muted: false, players: 1, height: 0, mid: "1" },
  ],
};

test("each track has its media, and whether it fits the network", () => {
  const [self, other] = members([ann, bob], {
    self: "a", speaking: "b", paused: new Set(["1"]), media: (mid) => `media ${mid}`,
  });
  expect(self).toMatchObject({ self: true, speaking: false, tracks: [{ media: null, paused: false }] });
  expect(other).toMatchObject({
    self: false, speaking: true,
    tracks: [{ media: "media 0", paused: false, muted: true }, { media: "media 1", paused: true }],
  });
});

// The few lines of SDP that a WHIP client handles itself. Pure text in, pure text out.

export interface IceCredentials {
  ufrag: string;
  pwd: string;
}

/** One gathered candidate: `candidate:…`, as `RTCIceCandidate.candidate` has it. */
export interface Candidate {
  candidate: string;
  sdpMid: string | null;
}

/** The body's type of a WHIP `PATCH` (RFC 8840). */
export const FRAGMENT_TYPE = "application/trickle-ice-sdpfrag";

/** The ICE credentials of a description: of its first section, as all are bundled. */
export function credentials(sdp: string): IceCredentials | null {
  const ufrag = /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1];
  const pwd = /^a=ice-pwd:(\S+)/m.exec(sdp)?.[1];
  return ufrag && pwd ? { ufrag, pwd } : null;
}

/**
 * The SDP fragment that tells the server of candidates, or, with new credentials in `local`,
 * asks for an ICE restart (RFC 9725 §4.3.1, RFC 8840 §9).
 */
export function fragment(local: string, candidates: Candidate[], complete: boolean): string {
  const lines: string[] = [];
  const group = /^a=group:BUNDLE .*$/m.exec(local)?.[0];
  if (group) lines.push(group.trimEnd());
  // Everything is bundled: candidates belong to the first section.
  const first = sections(local)[0];
  if (!first) return "";
  lines.push(first.mLine, `a=mid:${first.mid}`);
  const ice = credentials(local);
  if (ice) lines.push(`a=ice-ufrag:${ice.ufrag}`, `a=ice-pwd:${ice.pwd}`);
  for (const { candidate } of candidates) lines.push(`a=${candidate.replace(/^a=/, "")}`);
  if (complete) lines.push("a=end-of-candidates");
  return lines.join("\r\n") + "\r\n";
}

/**
 * The remote description after an ICE restart: the old answer with the credentials and the
 * candidates that the server's fragment brought. `null` if the fragment has no credentials.
 */
export function restarted(answer: string, answeredFragment: string): string | null {
  const ice = credentials(answeredFragment);
  if (!ice) return null;
  const candidates = answeredFragment.split(/\r?\n/).filter((line) =>
    line.startsWith("a=candidate:") || line === "a=end-of-candidates");
  const kept = answer.split(/\r?\n/).filter((line) =>
    line !== "" && !line.startsWith("a=candidate:") && line !== "a=end-of-candidates");
  let placed = false;
  const lines = kept.flatMap((line) => {
    if (line.startsWith("a=ice-ufrag:")) return [`a=ice-ufrag:${ice.ufrag}`];
    if (line.startsWith("a=ice-pwd:")) {
      const own = placed ? [] : candidates;
      placed = true;
      return [`a=ice-pwd:${ice.pwd}`, ...own];
    }
    return [line];
  });
  return lines.join("\r\n") + "\r\n";
}

/** The servers of `Link: <turn:…>; rel="ice-server"` (RFC 9725 §4.6). */
export function iceServers(link: string | null): RTCIceServer[] {
  if (!link) return [];
  return splitLinks(link).flatMap((item) => {
    const url = /^\s*<([^>]+)>/.exec(item)?.[1];
    const parameter = (name: string) => {
      const found = new RegExp(`;\\s*${name}\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^;,\\s]+))`, "i").exec(item);
      return found?.[1]?.replace(/\\(.)/g, "$1") ?? found?.[2];
    };
    if (!url || !/^(stun|turn)s?:/i.test(url) || parameter("rel") !== "ice-server") return [];
    const username = parameter("username");
    const credential = parameter("credential");
    return [{ urls: url, ...(username && credential ? { username, credential } : {}) }];
  });
}

/** Commas inside `<…>` and quotes do not separate. */
function splitLinks(header: string): string[] {
  return header.match(/(?:<[^>]*>|"(?:[^"\\]|\\.)*"|[^,])+/g) ?? [];
}

function sections(sdp: string): { mLine: string; mid: string }[] {
  return sdp.split(/^(?=m=)/m).filter((part) => part.startsWith("m=")).map((part) => ({
    mLine: part.split(/\r?\n/, 1)[0] ?? "",
    mid: /^a=mid:(\S+)/m.exec(part)?.[1] ?? "0",
  }));
}

/** Marks the sections with these mids as a shared screen (`a=content:slides`, RFC 4796). */
export function markScreen(sdp: string, mids: readonly (string | null)[]): string {
  const lines = sdp.split(/\r?\n/).flatMap((line) => {
    const mid = /^a=mid:(\S+)/.exec(line)?.[1];
    return mid !== undefined && mids.includes(mid) ? [line, "a=content:slides"] : [line];
  });
  return lines.join("\r\n");
}

/**
 * Lets a browser ask for lost packets of sound again, which it does only if its own description
 * says so (RFC 4585 §6.2.1): on a lossy network that is most of what can be done for sound.
 */
export function askForLostSound(sdp: string): string {
  return sdp.replace(/^a=rtpmap:(\d+) opus\/48000.*$/gim, (line, type: string) =>
    sdp.includes(`a=rtcp-fb:${type} nack`) ? line : `${line}\r\na=rtcp-fb:${type} nack`);
}

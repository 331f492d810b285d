// A WHIP client (RFC 9725): one peer connection that sends, and its resource on the server.

import { Problem } from "./problem";
import { FRAGMENT_TYPE, credentials, fragment, iceServers, restarted } from "./sdp";

export interface WhipOptions {
  /** The WHIP endpoint, query included. */
  endpoint: string;
  /** Sent as `Authorization: Bearer`. */
  token?: string | undefined;
  /** How the connection is made; for tests, and for settings such as a relay-only policy. */
  connect?: () => RTCPeerConnection;
  fetch?: typeof fetch;
  /** What else the server is told of the sections, in its copy of the offer. */
  describe?: (sdp: string, pc: RTCPeerConnection) => string;
  /**
   * How long to gather candidates before the offer goes out; what comes later is trickled.
   * Local addresses are there within a few milliseconds, so the offer mostly is complete.
   */
  gatherMs?: number;
}

/** Enough for every local address; a STUN server's answer is not worth waiting for. */
const GATHER_MS = 150;
/** Candidates that come together are sent together. */
const TRICKLE_MS = 50;
/** A server that takes longer to answer an offer is as good as gone. */
const ANSWER_TIMEOUT_MS = 10_000;
/** Without its list of ICE servers the server itself can still be reached. */
const SERVERS_TIMEOUT_MS = 1_000;

/**
 * One published connection. Made by {@link WhipSession.open}; listen to `pc` for its state.
 * It does not reconnect: a `Publisher` does.
 */
export class WhipSession {
  private etag: string | null = null;
  private resource = "";
  private trickling = false;
  private pending: RTCIceCandidate[] = [];
  private gathered = false;
  private trickleTimer: ReturnType<typeof setTimeout> | undefined;
  /** `PATCH`es go out one after another: each may change the ETag. */
  private queue: Promise<unknown> = Promise.resolve();
  private closed = false;

  private constructor(readonly pc: RTCPeerConnection, private readonly options: WhipOptions) {}

  /**
   * Offers what `prepare` added to the connection, and returns when the server has answered.
   * Media flows once `pc.connectionState` is `connected`.
   * @throws {Problem} when the server refuses or does not answer
   */
  static async open(
    prepare: (pc: RTCPeerConnection) => void | Promise<void>,
    options: WhipOptions,
    signal?: AbortSignal,
  ): Promise<WhipSession> {
    const pc = options.connect?.() ?? new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const session = new WhipSession(pc, options);
    try {
      await Promise.all([prepare(pc), session.askForServers()]);
      await session.offer(signal);
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  }

  /**
   * Looks for a new network path and keeps the connection (RFC 9725 §4.3.2).
   * @throws {Problem} when the server cannot: then only a new session helps
   */
  async restartIce(): Promise<void> {
    const { pc } = this;
    // Those of the old generation must not be sent as the new one's.
    this.stopTrickle();
    this.trickling = false;
    this.gathered = false;
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
    await this.gather();
    const { sdp, candidates } = this.takeLocal();
    const body = fragment(sdp, candidates, this.gathered);
    // An ICE restart matches any ETag, as it makes a new one.
    const response = await this.send(this.resource, {
      method: "PATCH",
      headers: { "content-type": FRAGMENT_TYPE, "if-match": "*" },
      body,
    });
    if (response.status !== 200) {
      throw new Problem(response.status, "The server does not restart ICE.");
    }
    const answer = restarted(pc.remoteDescription?.sdp ?? "", await response.text());
    if (!answer) throw new Problem(response.status, "The server's answer to an ICE restart has no credentials.");
    this.etag = response.headers.get("etag");
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    this.startTrickle();
  }

  /** Leaves: tells the server, even while the page is being closed, and ends the connection. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.stopTrickle();
    this.pc.onicecandidate = null;
    this.pc.close();
    if (this.resource) {
      this.send(this.resource, { method: "DELETE", keepalive: true }).catch(() => {
        // The server notices by itself that nobody sends any more.
      });
    }
  }

  /** RFC 9725 §4.6: relays serve the first offer only if they are known before it. */
  private async askForServers(): Promise<void> {
    const signal = AbortSignal.timeout(SERVERS_TIMEOUT_MS);
    try {
      const response = await this.send(this.options.endpoint, { method: "OPTIONS", signal });
      this.useServers(response);
    } catch {
      // The POST that follows says better what is wrong.
    }
  }

  private useServers(response: Response): void {
    const servers = iceServers(response.headers.get("link"));
    if (servers.length > 0) this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers: servers });
  }

  private async offer(signal?: AbortSignal): Promise<void> {
    const { pc } = this;
    pc.onicecandidate = ({ candidate }) => this.gatheredOne(candidate);
    await pc.setLocalDescription(await pc.createOffer());
    await this.gather();
    const { sdp } = this.takeLocal();
    const timeout = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const response = await this.send(this.options.endpoint, {
      method: "POST",
      headers: { "content-type": "application/sdp" },
      body: this.options.describe?.(sdp, pc) ?? sdp,
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    const location = response.headers.get("location");
    if (location) {
      const base = response.url || new URL(this.options.endpoint, globalThis.location?.href).href;
      this.resource = new URL(location, base).href;
    }
    if (response.status !== 201 || !location) {
      throw new Problem(response.status, "This is no WHIP endpoint: it answered without a session's Location.");
    }
    this.etag = response.headers.get("etag");
    // Newer ones serve a later ICE restart.
    this.useServers(response);
    const answer = await response.text();
    signal?.throwIfAborted();
    try {
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      throw new Problem(response.status, `The browser does not accept the server's answer: ${String(error)}`);
    }
    this.startTrickle();
  }

  /** Waits until all candidates are there, or for as long as is worth it. */
  private gather(): Promise<void> {
    const { pc } = this;
    if (pc.iceGatheringState === "complete") {
      this.gathered = true;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        pc.removeEventListener("icegatheringstatechange", changed);
        resolve();
      };
      const changed = () => {
        if (pc.iceGatheringState !== "complete") return;
        this.gathered = true;
        done();
      };
      const timer = setTimeout(done, this.options.gatherMs ?? GATHER_MS);
      pc.addEventListener("icegatheringstatechange", changed);
    });
  }

  /** The local description with the candidates gathered so far: those need no trickling. */
  private takeLocal() {
    const candidates = this.pending;
    this.pending = [];
    return { sdp: this.pc.localDescription?.sdp ?? "", candidates };
  }

  private gatheredOne(candidate: RTCIceCandidate | null): void {
    if (candidate?.candidate) this.pending.push(candidate);
    else this.gathered = true;
    if (this.trickling) this.scheduleTrickle();
  }

  private startTrickle(): void {
    this.trickling = true;
    if (this.pending.length > 0) this.scheduleTrickle();
  }

  private stopTrickle(): void {
    clearTimeout(this.trickleTimer);
    this.trickleTimer = undefined;
    this.pending = [];
  }

  private scheduleTrickle(): void {
    if (this.trickleTimer !== undefined) return;
    this.trickleTimer = setTimeout(() => {
      this.trickleTimer = undefined;
      this.queue = this.queue.then(() => this.trickle()).catch(() => {
        // A server that takes no trickle finds us by our own checks, or the connection fails.
        this.trickling = false;
      });
    }, TRICKLE_MS);
  }

  private async trickle(): Promise<void> {
    const { sdp, candidates } = this.takeLocal();
    if (this.closed || !credentials(sdp) || (candidates.length === 0 && !this.gathered)) return;
    await this.send(this.resource, {
      method: "PATCH",
      headers: { "content-type": FRAGMENT_TYPE, ...(this.etag ? { "if-match": this.etag } : {}) },
      body: fragment(sdp, candidates, this.gathered),
    });
  }

  private async send(url: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.options.token) headers.set("authorization", `Bearer ${this.options.token}`);
    let response: Response;
    try {
      response = await (this.options.fetch ?? fetch)(url, { ...init, headers });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw Problem.unreachable();
    }
    if (!response.ok) throw await Problem.from(response);
    return response;
  }
}

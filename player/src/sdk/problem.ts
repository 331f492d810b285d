// The one error of the SDK: what the server refused, in its own words.

/** An answer that is no success. `detail` says what to do, for people. */
export class Problem extends Error {
  constructor(
    /** The HTTP status; 0 when no answer came at all. */
    readonly status: number,
    readonly detail: string,
    /** How long the server asks to wait, in milliseconds. */
    readonly retryAfterMs?: number,
  ) {
    super(detail);
    this.name = "Problem";
  }

  /** Whether the same request may succeed later, without anybody changing anything. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 409 ||
      this.status === 425 || this.status === 429 || this.status >= 500;
  }

  /** Reads `application/problem+json` (RFC 9457); any other body becomes a general sentence. */
  static async from(response: Response): Promise<Problem> {
    let detail = "";
    if (/[/+]json\b/.test(response.headers.get("content-type") ?? "")) {
      const body: unknown = await response.json().catch(() => null);
      if (body && typeof body === "object") {
        const { detail: said, title } = body as { detail?: unknown; title?: unknown };
        detail = typeof said === "string" ? said : typeof title === "string" ? title : "";
      }
    }
    detail ||= `The server answered ${response.status} ${response.statusText}`.trim() + ".";
    return new Problem(response.status, detail, retryAfterMs(response.headers));
  }

  /** The problem of a request that got no answer. */
  static unreachable(): Problem {
    return new Problem(0, "The server does not answer. Check the network connection.");
  }
}

/** `Retry-After` in seconds (RFC 9110 §10.2.3); the date form is not used by this server. */
function retryAfterMs(headers: Headers): number | undefined {
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}

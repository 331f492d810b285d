// A path between a browser and the server that loses, delays and narrows, as networks do. Neither
// rights nor a kernel's traffic control are needed: a UDP socket stands between both.

import { createSocket } from "node:dgram";
import { once } from "node:events";

/** More than this waits in no router. */
const QUEUE_MS = 300;

/** Numbers that look random and are the same in each run. */
function dice(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** One direction: `send` is called when a datagram comes out. */
class Link {
  #free = 0;
  #last = 0;

  constructor(shape, seed) {
    this.shape = shape;
    this.roll = dice(seed);
  }

  carry(length, send) {
    const { loss = 0, jitterMs = 0, bps = Infinity } = this.shape;
    if (this.roll() < loss) return;
    const now = performance.now();
    const start = Math.max(now, this.#free);
    if (start - now > QUEUE_MS) return;
    this.#free = start + (length * 8_000) / bps;
    // Jitter delays; it does not reorder, as queues do not.
    const at = Math.max(this.#free + this.roll() * jitterMs, this.#last);
    this.#last = at;
    if (at - now < 0.5) send();
    else setTimeout(send, at - now);
  }
}

/**
 * Stands before a server's UDP port until the test ends. `shape(up, down)` says what both
 * directions do from now on: `{loss, jitterMs, bps}`.
 */
export async function shaper(t, port) {
  const front = createSocket("udp4").bind(0, "127.0.0.1");
  await once(front, "listening");
  const [up, down] = [new Link({}, 1), new Link({}, 2)];
  const backs = new Map();
  let isOver = false;
  const backOf = (client) => {
    const name = `${client.address}:${client.port}`;
    if (!backs.has(name)) {
      const back = createSocket("udp4");
      back.on("message", (datagram) => down.carry(datagram.length, () => isOver || front.send(datagram, client.port, client.address)));
      back.on("error", () => {});
      backs.set(name, back);
    }
    return backs.get(name);
  };
  front.on("message", (datagram, client) => {
    const back = backOf(client);
    up.carry(datagram.length, () => isOver || back.send(datagram, port, "127.0.0.1"));
  });
  t.after(() => {
    // What is still on its way is lost.
    isOver = true;
    [front, ...backs.values()].forEach((socket) => socket.close());
  });
  return {
    port: front.address().port,
    shape(upward, downward) {
      up.shape = upward;
      down.shape = downward;
    },
  };
}

/** Runs in a page before its own scripts: it reaches the server through the shaper alone. */
export function throughShaper({ server, shaper }) {
  const Original = RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends Original {
    constructor(...args) {
      super(...args);
      window.connections.push(this);
    }
    setRemoteDescription({ type, sdp }) {
      const lines = sdp.split("\r\n").filter((line) => !/^a=candidate:.* tcp /.test(line));
      const moved = lines.map((line) => (line.startsWith("a=candidate:") ? line.replace(` ${server} `, ` ${shaper} `) : line));
      return super.setRemoteDescription({ type, sdp: moved.join("\r\n") });
    }
  };
}

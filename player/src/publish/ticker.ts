// A metronome: a worker is not slowed down when its page is hidden.

const ticker = globalThis as unknown as { postMessage(message: null): void; onmessage: (event: MessageEvent<number>) => void };

ticker.onmessage = ({ data: intervalMs }) => {
  setInterval(() => ticker.postMessage(null), intervalMs);
};

// Where picture and sound come from: the camera, or a clock for tests and for fun.

/** What went wrong, said so that people can mend it. */
export class SourceError extends Error {}

export interface Choice {
  camera?: string | undefined;
  microphone?: string | undefined;
}

/** Camera and microphone; one of them is enough. */
export async function openCamera(choice: Choice): Promise<MediaStream> {
  if (!isSecureContext || !navigator.mediaDevices?.getUserMedia) {
    throw new SourceError(
      `Browsers give camera and microphone only to secure pages. Open this page by https://, or by http://localhost on the server itself.`,
    );
  }
  const video: MediaTrackConstraints = {
    width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 },
    ...(choice.camera ? { deviceId: { exact: choice.camera } } : { facingMode: "user" }),
  };
  const audio: MediaTrackConstraints = {
    echoCancellation: true, noiseSuppression: true, autoGainControl: true,
    ...(choice.microphone ? { deviceId: { exact: choice.microphone } } : {}),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio });
  } catch (both) {
    // A missing camera need not silence a speaker, nor the reverse.
    if (isMissing(both)) {
      for (const one of [{ audio }, { video }]) {
        const stream = await navigator.mediaDevices.getUserMedia(one).catch(() => null);
        if (stream) return stream;
      }
    }
    throw new SourceError(explain(both));
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof DOMException && (error.name === "NotFoundError" || error.name === "OverconstrainedError");
}

function explain(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The browser may not use your camera and microphone. Allow them at the icon in the address bar, then try again.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No camera and no microphone were found. Connect one, then try again.";
    case "NotReadableError":
    case "AbortError":
      return "The camera or the microphone does not start. Another program may be using it: close that, then try again.";
    default:
      return `Camera and microphone could not be opened: ${String(error)}`;
  }
}

/** The devices to choose from; their names are known only after permission was given. */
export async function devices(): Promise<{ cameras: MediaDeviceInfo[]; microphones: MediaDeviceInfo[] }> {
  const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return {
    cameras: all.filter((device) => device.kind === "videoinput" && device.deviceId),
    microphones: all.filter((device) => device.kind === "audioinput" && device.deviceId),
  };
}

// Records a voice with what the browser has: Opus where it can, else what it can.
const KINDS = ['audio/webm;codecs=opus', 'audio/ogg;codecs=opus', 'audio/mp4'];
/** Enough for a clear voice: 3 KB a second, so a minute crosses a slow path in seconds. */
const BITS_PER_SECOND = 24_000;

export interface Recording {
  /** Ends it; nothing if it was thrown away. */
  stop(keep: boolean): Promise<File | undefined>;
}

/** Begins to record. Fails if there is no microphone or the person does not allow it. */
export async function record(): Promise<Recording> {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
  const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
  const recorder = new MediaRecorder(stream, { mimeType, audioBitsPerSecond: BITS_PER_SECOND });
  const parts: Blob[] = [];
  recorder.ondataavailable = (event) => void parts.push(event.data);
  recorder.start();
  return {
    stop: (keep) =>
      new Promise((done) => {
        recorder.onstop = () => {
          for (const track of stream.getTracks()) track.stop();
          const type = (recorder.mimeType || 'audio/webm').split(';')[0] ?? 'audio/webm';
          const ending = type.split('/')[1] ?? 'webm';
          const name = `voice-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}.${ending}`;
          done(keep ? new File(parts, name, { type }) : undefined);
        };
        recorder.stop();
      }),
  };
}

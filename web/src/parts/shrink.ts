// A small picture of a photo, which travels inside the message and is there long before the photo.
import type { Schemas } from '../api/client';

/** What may ride in a message. */
const THUMBNAIL_BYTES_MAX = 8 * 1024;
const SIDES = [320, 240, 160, 96];
const QUALITIES = [0.7, 0.5, 0.35];

async function base64(blob: Blob): Promise<string> {
  let text = '';
  for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
  return btoa(text);
}

/** The photo's small picture and size; nothing if the browser cannot draw it. */
export async function shrink(file: Blob): Promise<Schemas['Photo'] | undefined> {
  const image = await createImageBitmap(file).catch(() => undefined);
  if (!image) return undefined;
  const { width, height } = image;
  for (const side of SIDES) {
    const scale = Math.min(1, side / Math.max(width, height));
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
    for (const quality of QUALITIES) {
      const blob = await canvas.convertToBlob({ type: 'image/webp', quality });
      if (blob.size <= THUMBNAIL_BYTES_MAX) {
        image.close();
        return { thumbnail: await base64(blob), width: Math.min(width, 65_535), height: Math.min(height, 65_535) };
      }
    }
  }
  image.close();
  return undefined;
}

/** Steps of loudness that fit beside a voice. */
const STEPS = 64;

/** How long a voice is and how loud from begin to end. */
export async function hear(file: Blob): Promise<Schemas['Voice'] | undefined> {
  const context = new OfflineAudioContext(1, 1, 16_000);
  const heard = await context.decodeAudioData(await file.arrayBuffer()).catch(() => undefined);
  if (!heard) return undefined;
  const samples = heard.getChannelData(0);
  const length = Math.max(1, Math.floor(samples.length / STEPS));
  const waveform = Array.from({ length: STEPS }, (_, at) => {
    let loudest = 0;
    for (let sample = at * length; sample < (at + 1) * length; sample += 1) loudest = Math.max(loudest, Math.abs(samples[sample] ?? 0));
    return Math.min(255, Math.round(loudest * 255));
  });
  return { duration_ms: Math.round(heard.duration * 1_000), waveform };
}

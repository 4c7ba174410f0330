// Reads codes from a camera or a picture. The reader is big, so it comes when somebody scans.
import type { ReaderOptions } from 'zxing-wasm/reader';
import wasm from 'zxing-wasm/reader/zxing_reader.wasm?url';

const OPTIONS: ReaderOptions = { formats: ['QRCode'], tryHarder: true, maxNumberOfSymbols: 1 };

async function reader() {
  const { prepareZXingModule, readBarcodes } = await import('zxing-wasm/reader');
  await prepareZXingModule({ overrides: { locateFile: () => wasm }, fireImmediately: true });
  return readBarcodes;
}

/** The text of the code in a picture, if there is one. */
export async function readPicture(picture: Blob | ImageData): Promise<string | undefined> {
  const read = await reader();
  const [code] = await read(picture, OPTIONS);
  return code?.text || undefined;
}

/** Looks through the camera until there is a code or the signal comes. Fails if the camera cannot be used. */
export async function readCamera(video: HTMLVideoElement, signal: AbortSignal): Promise<string | undefined> {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' }, audio: false });
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) return undefined;
    video.srcObject = stream;
    await video.play();
    const canvas = document.createElement('canvas');
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const read = await reader();
    while (!signal.aborted && context) {
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      if (canvas.width > 0) {
        context.drawImage(video, 0, 0);
        const [code] = await read(context.getImageData(0, 0, canvas.width, canvas.height), OPTIONS);
        if (code?.text) return code.text;
      }
      await new Promise((next) => requestAnimationFrame(next));
    }
    return undefined;
  } finally {
    stop();
  }
}

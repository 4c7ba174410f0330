// Where this phone is, if the person allows it, and how far other places are.
import type { Place } from '../api/client';
import type { Key } from '../words/en';

const PATIENCE_MS = 10_000;
const EARTH_M = 6_371_000;

/** The phone's place; nothing if it is not known or not allowed. */
export function whereAmI(): Promise<Place | undefined> {
  if (!('geolocation' in navigator)) return Promise.resolve(undefined);
  return new Promise((done) => {
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => done({ latitude: coords.latitude, longitude: coords.longitude, accuracy_m: Math.min(65_535, Math.round(coords.accuracy)) }),
      () => done(undefined),
      { enableHighAccuracy: true, timeout: PATIENCE_MS, maximumAge: 60_000 },
    );
  });
}

/** The charge in percent, where the browser tells it. */
export async function battery(): Promise<number | undefined> {
  const asked = navigator as Navigator & { getBattery?: () => Promise<{ level: number }> };
  return asked.getBattery?.().then(({ level }) => Math.round(level * 100), () => undefined);
}

/** Metres east and north of one place from another; right for the distances people walk. */
export function offset(from: Place, to: Place): { east: number; north: number } {
  const rad = Math.PI / 180;
  const middle = ((from.latitude + to.latitude) / 2) * rad;
  let turn = to.longitude - from.longitude;
  if (turn > 180) turn -= 360;
  if (turn < -180) turn += 360;
  return { east: turn * rad * Math.cos(middle) * EARTH_M, north: (to.latitude - from.latitude) * rad * EARTH_M };
}

const DIRECTIONS = ['dir.n', 'dir.ne', 'dir.e', 'dir.se', 'dir.s', 'dir.sw', 'dir.w', 'dir.nw'] as const satisfies readonly Key[];

export function direction({ east, north }: { east: number; north: number }): Key {
  const turn = Math.round((Math.atan2(east, north) / (2 * Math.PI)) * 8 + 8) % 8;
  return DIRECTIONS[turn] ?? 'dir.n';
}

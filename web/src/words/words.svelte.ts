// The language of the app: chosen by the browser or by the person, loaded when it is needed, changed without a reload.
import { en, type Forms, type Key, type Words } from './en';

export const LANGUAGES = {
  en: 'English',
  es: 'Español',
  fr: 'Français',
  zh: '中文',
  ar: 'العربية',
  sw: 'Kiswahili',
} as const;
export type Language = keyof typeof LANGUAGES;

const LOAD: Record<Exclude<Language, 'en'>, () => Promise<{ words: Words }>> = {
  es: () => import('./es'),
  fr: () => import('./fr'),
  zh: () => import('./zh'),
  ar: () => import('./ar'),
  sw: () => import('./sw'),
};
const RIGHT_TO_LEFT: readonly Language[] = ['ar'];
const PLACE = 'smartmesh.language';

let current = $state.raw<{ language: Language; words: Words }>({ language: 'en', words: en });

export const isLanguage = (text: string | undefined | null): text is Language => !!text && text in LANGUAGES;

function wanted(): Language {
  let kept: string | null = null;
  try {
    kept = localStorage.getItem(PLACE);
  } catch {
    // Not kept.
  }
  if (isLanguage(kept)) return kept;
  return navigator.languages.map((one) => one.split('-')[0]).find(isLanguage) ?? 'en';
}

export const language = (): Language => current.language;

export async function speak(next: Language): Promise<void> {
  const words = next === 'en' ? en : (await LOAD[next]()).words;
  current = { language: next, words };
  document.documentElement.lang = next;
  document.documentElement.dir = RIGHT_TO_LEFT.includes(next) ? 'rtl' : 'ltr';
  try {
    localStorage.setItem(PLACE, next);
  } catch {
    // It is asked again next time.
  }
}

export const speakAsWanted = (): Promise<void> => speak(wanted()).catch(() => speak('en'));

/** A sentence in the current language. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  const entry: string | Forms = current.words[key];
  let text: string;
  if (typeof entry === 'string') text = entry;
  else {
    const count = Number(values['count'] ?? 0);
    const form = new Intl.PluralRules(current.language).select(count);
    text = (count === 0 ? entry.zero : undefined) ?? entry[form] ?? entry.other;
  }
  return text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    return typeof value === 'number' ? number(value) : (value ?? '');
  });
}

export const number = (value: number): string => new Intl.NumberFormat(current.language).format(value);

/** A span in its largest whole unit. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return t('time.seconds', { count: whole });
  if (whole < 3_600) return t('time.minutes', { count: Math.floor(whole / 60) });
  if (whole < 86_400) return t('time.hours', { count: Math.floor(whole / 3_600) });
  return t('time.days', { count: Math.floor(whole / 86_400) });
}

export const clock = (unix: number): string =>
  new Intl.DateTimeFormat(current.language, { hour: '2-digit', minute: '2-digit' }).format(unix * 1_000);

export const dayAndClock = (unix: number): string =>
  new Intl.DateTimeFormat(current.language, { weekday: 'long', day: 'numeric', month: 'long', hour: '2-digit', minute: '2-digit' }).format(unix * 1_000);

/** Today, yesterday, or the date. */
export function day(unix: number): string {
  const start = (at: Date) => new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime();
  const apart = Math.round((start(new Date()) - start(new Date(unix * 1_000))) / 86_400_000);
  if (apart === 0) return t('chat.today');
  if (apart === 1) return t('chat.yesterday');
  return new Intl.DateTimeFormat(current.language, { weekday: 'short', day: 'numeric', month: 'long' }).format(unix * 1_000);
}

/** Metres, or kilometres from one on. */
export function distance(metres: number): string {
  const far = metres >= 1_000;
  const value = far ? metres / 1_000 : Math.round(metres / 10) * 10;
  return new Intl.NumberFormat(current.language, { style: 'unit', unit: far ? 'kilometer' : 'meter', maximumFractionDigits: far && value < 10 ? 1 : 0 }).format(value);
}

export function size(bytes: number): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'] as const;
  let at = 0;
  let value = bytes;
  while (value >= 1_000 && at < units.length - 1) {
    value /= 1_000;
    at += 1;
  }
  const format = { style: 'unit', unit: units[at], unitDisplay: 'short', maximumFractionDigits: value < 10 && at > 0 ? 1 : 0 } as const;
  return new Intl.NumberFormat(current.language, format).format(value);
}

// Amounts: whole base units inside, decimals for people. Never a floating-point number.
import { language } from '../words/words.svelte';

const DECIMALS = 18;
const ONE = 10n ** BigInt(DECIMALS);

/** Base units as people write them, with at most so many digits behind the point; what is cut off is never rounded up. */
export function coins(units: string, digits = 4): string {
  const value = BigInt(units);
  const whole = new Intl.NumberFormat(language()).format(value / ONE);
  const part = (value % ONE).toString().padStart(DECIMALS, '0').slice(0, digits).replace(/0+$/, '');
  if (!part) return `${whole} SMT`;
  const point = new Intl.NumberFormat(language()).formatToParts(1.5).find((one) => one.type === 'decimal')?.value ?? '.';
  const shown = new Intl.NumberFormat(language(), { useGrouping: false, minimumIntegerDigits: part.length }).format(BigInt(part));
  return `${whole}${point}${shown} SMT`;
}

/** What somebody typed as base units; nothing if it is no amount. */
export function units(text: string): string | undefined {
  const match = /^(\d{1,15})?(?:[.,](\d{1,18}))?$/.exec(text.trim());
  if (!match || (!match[1] && !match[2])) return undefined;
  const value = BigInt(match[1] ?? '0') * ONE + BigInt((match[2] ?? '').padEnd(DECIMALS, '0') || '0');
  return value > 0n ? value.toString() : undefined;
}

export const sum = (...amounts: (string | null | undefined)[]): string => amounts.reduce((all, one) => all + BigInt(one ?? '0'), 0n).toString();

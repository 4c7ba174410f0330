// A person's colour and letters, the same on every phone: made from the address, which nobody else can have.
function hash(text: string): number {
  let value = 2_166_136_261;
  for (const unit of text) value = Math.imul(value ^ (unit.codePointAt(0) ?? 0), 16_777_619);
  // Two more rounds, so that addresses that differ at their ends only differ in colour.
  value = Math.imul(value ^ (value >>> 15), 2_246_822_519);
  return (value ^ (value >>> 13)) >>> 0;
}

export const hueOf = (address: string): number => hash(address) % 360;

export function lettersOf(name: string): string {
  const words = name.trim().split(/\s+/);
  const first = [...(words[0] ?? '')][0] ?? '?';
  const last = words.length > 1 ? ([...(words.at(-1) ?? '')][0] ?? '') : '';
  return (first + last).toUpperCase();
}

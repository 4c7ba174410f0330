// A name to begin with, so that nobody has to think of one: a kind word and something that everybody knows. Names are not
// translated; any may be changed.
const KIND = ['Bright', 'Calm', 'Kind', 'Merry', 'Quiet', 'Swift', 'Warm', 'Wise'];
const THING = ['Baobab', 'Falcon', 'Garden', 'Harbour', 'Lantern', 'Mango', 'River', 'Sparrow', 'Star', 'Willow'];

export function friendlyName(): string {
  const [a = 0, b = 0] = crypto.getRandomValues(new Uint32Array(2));
  return `${KIND[a % KIND.length]} ${THING[b % THING.length]}`;
}

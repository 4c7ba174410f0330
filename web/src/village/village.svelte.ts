// The village as the demo shows it, and what a visitor may change. The token comes in the address that the demo prints and
// stays with this tab.
export interface Phone {
  name: string;
  x: number;
  y: number;
  running: boolean;
}

export interface Line {
  a: string;
  b: string;
  cut: boolean;
  bytes: number;
}

export interface Telling {
  millis: number | null;
  text: string;
}

interface Shown {
  width: number;
  height: number;
  reach: number;
  phones: Phone[];
  lines: Line[];
  story: Telling[];
  told: boolean;
}

/** Bytes in one look that are more than the greetings of two phones which have nothing to say. */
const BUSY_BYTES = 900;
const LOOK_EVERY_MS = 600;
const STEP_MS = 40;
const PLACE = 'smartmesh.village';

function token(): string {
  const given = /^#village=([0-9a-f]+)$/.exec(location.hash)?.[1];
  if (given) {
    sessionStorage.setItem(PLACE, given);
    history.replaceState(null, '', location.pathname);
  }
  return given ?? sessionStorage.getItem(PLACE) ?? '';
}

class Village {
  shown = $state.raw<Shown>();
  /** Pairs with something to say right now. */
  busy = $state.raw<ReadonlySet<string>>(new Set());
  state = $state<'opening' | 'locked' | 'gone' | 'here'>('opening');
  #token = token();

  constructor() {
    void this.#look();
  }

  async #ask(path: string, body?: unknown): Promise<Response> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#token}` };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    return fetch(`/village/${path}`, body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) });
  }

  async #look(): Promise<void> {
    try {
      const answer = await this.#ask('state');
      if (answer.status === 401) {
        this.state = 'locked';
        return;
      }
      const next = (await answer.json()) as Shown;
      const before = new Map(this.shown?.lines.map((line) => [`${line.a} ${line.b}`, line.bytes]));
      this.busy = new Set(
        next.lines.filter((line) => line.bytes - (before.get(`${line.a} ${line.b}`) ?? line.bytes) > BUSY_BYTES).map((line) => `${line.a} ${line.b}`),
      );
      this.shown = next;
      this.state = 'here';
    } catch {
      this.state = 'gone';
    }
    setTimeout(() => void this.#look(), LOOK_EVERY_MS);
  }

  phone(name: string): Phone | undefined {
    return this.shown?.phones.find((phone) => phone.name === name);
  }

  /** An address that opens somebody's phone, once it is on. */
  async open(name: string): Promise<string | undefined> {
    const answer = await this.#ask(`open/${name}`, {});
    return answer.ok ? ((await answer.json()) as { url: string }).url : undefined;
  }

  place(name: string, x: number, y: number): void {
    const shown = this.shown;
    if (shown) this.shown = { ...shown, phones: shown.phones.map((phone) => (phone.name === name ? { ...phone, x, y } : phone)) };
    void this.#ask('move', { name, x: Math.round(x), y: Math.round(y) });
  }

  /** Walks somebody along a line, step by step. */
  async walk(name: string, x: number, y: number): Promise<void> {
    const from = this.phone(name);
    if (!from) return;
    const steps = Math.max(1, Math.round(Math.hypot(x - from.x, y - from.y) / 9));
    for (let step = 1; step <= steps; step += 1) {
      this.place(name, from.x + ((x - from.x) * step) / steps, from.y + ((y - from.y) * step) / steps);
      await new Promise((next) => setTimeout(next, STEP_MS));
    }
  }

  cut(a: string, b: string, cut: boolean): void {
    const shown = this.shown;
    if (shown) this.shown = { ...shown, lines: shown.lines.map((line) => (line.a === a && line.b === b ? { ...line, cut } : line)) };
    void this.#ask('cut', { a, b, cut });
  }

  power(name: string, on: boolean): void {
    void this.#ask('power', { name, on });
  }
}

export const village = new Village();

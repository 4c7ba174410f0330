// What the app knows. It changes by what the node says: an answer or an event; a screen only reads it and gives commands.
import { SvelteMap } from 'svelte/reactivity';
import { Client, Refusal } from '../api/client';
import type { Bulletin, Contact, FetchState, Identity, Message, Nearby, NodeEvent, RoomMessage, Sos, Status } from '../api/client';
import { enter, keepToken } from '../api/door';
import { alarm, notify } from './notify';

export type Phase = 'opening' | 'closed' | 'welcome' | 'ready';

/** Messages asked for at a time. */
const PAGE = 1_000;
/** How often to ask who is near; the node has no event for somebody who has gone. */
const LOOK_EVERY_MS = 2_000;
/** How long to wait before the next try to reach a node that has stopped. */
const RETRY_MS = 1_000;

const NOBODY: readonly Message[] = [];

class Store {
  phase = $state<Phase>('opening');
  /** Whether the node answers. */
  running = $state(true);
  me = $state.raw<Identity>();
  status = $state.raw<Status>();
  nearby = $state.raw<readonly Nearby[]>([]);
  contacts = $state.raw<readonly Contact[]>([]);
  /** Messages by the other person, oldest first. */
  readonly threads = new SvelteMap<string, readonly Message[]>();
  /** Calls for help, the newest word of each caller. */
  calls = $state.raw<readonly Sos[]>([]);
  room = $state.raw<readonly RoomMessage[]>([]);
  bulletins = $state.raw<readonly Bulletin[]>([]);
  /** Rises when money may have moved. */
  moneyNews = $state(0);
  /** Rises with every word about how somebody is. */
  personNews = $state(0);
  /** How far files are, by reference. */
  readonly fetches = new SvelteMap<string, FetchState>();
  readonly drafts = new SvelteMap<string, string>();
  /** The message that the next one answers, by the other person. */
  readonly answers = new SvelteMap<string, Message>();
  /** A short note at the bottom of the screen. */
  note = $state<string>();

  client = new Client('');
  #socket: WebSocket | undefined;
  #timers: number[] = [];
  #peerOf = new Map<string, string>();
  #last = 0;

  /** Opens the door and loads everything. */
  async open(): Promise<void> {
    const token = await enter();
    if (!token) {
      this.phase = 'closed';
      await this.#look();
      return;
    }
    this.client = new Client(token);
    await this.#start();
  }

  /** Whether a node is there at all, for a page that may not ask it anything. */
  async #look(): Promise<void> {
    this.running = await fetch('/manifest.webmanifest', { cache: 'no-store' }).then((answer) => answer.ok, () => false);
  }

  async #start(): Promise<void> {
    try {
      this.me = await this.client.get('/v1/id');
      this.running = true;
      await this.#load();
      this.phase = this.me.name_chosen ? 'ready' : 'welcome';
      this.#listen();
      window.clearInterval(this.#timers.pop());
      this.#timers.push(window.setInterval(() => void this.look(), LOOK_EVERY_MS));
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) {
        keepToken(undefined);
        this.phase = 'closed';
        return;
      }
      this.#lost();
    }
  }

  #lost(): void {
    this.running = false;
    this.#socket?.close();
    window.clearInterval(this.#timers.pop());
    window.setTimeout(() => void this.#start(), RETRY_MS);
  }

  async #load(): Promise<void> {
    await Promise.all([this.loadContacts(), this.look(), this.#loadMessages(), this.#loadFiles(), this.loadBoard()]);
  }

  async loadContacts(): Promise<void> {
    this.contacts = await this.client.get('/v1/contacts');
  }

  /** Who is near. */
  async look(): Promise<void> {
    if (!this.running) return;
    try {
      this.nearby = await this.client.get('/v1/nearby');
    } catch {
      // The event stream notices a node that has stopped.
    }
  }

  /** What everybody near has said. */
  async loadBoard(): Promise<void> {
    [this.calls, this.room, this.bulletins] = await Promise.all([
      this.client.get('/v1/sos'),
      this.client.get('/v1/room', { query: { limit: 500 } }),
      this.client.get('/v1/bulletins'),
    ]);
  }

  /** Open calls of others. */
  get alarms(): readonly Sos[] {
    return this.calls.filter((call) => !call.own && !call.over && !call.done);
  }

  async loadStatus(): Promise<void> {
    this.status = await this.client.get('/v1/status');
  }

  async #loadFiles(): Promise<void> {
    for (const file of await this.client.get('/v1/files')) this.fetches.set(file.file.reference, file.fetch);
  }

  async #loadMessages(): Promise<void> {
    // After a gap everything is read again: the state of any message may have changed.
    const threads = new Map<string, Message[]>();
    let after = 0;
    for (;;) {
      const page = await this.client.get('/v1/messages', { query: { after, limit: PAGE } });
      for (const message of page) {
        const thread = threads.get(message.peer) ?? [];
        thread.push(message);
        threads.set(message.peer, thread);
        this.#peerOf.set(message.id, message.peer);
        after = Math.max(after, message.sequence);
      }
      if (page.length < PAGE) break;
    }
    this.#last = after;
    for (const [peer, thread] of threads) this.threads.set(peer, thread);
  }

  #listen(): void {
    const socket = this.client.events();
    this.#socket = socket;
    socket.onmessage = (event) => this.#take(JSON.parse(String(event.data)) as NodeEvent);
    socket.onclose = () => {
      if (this.#socket === socket) {
        this.#socket = undefined;
        this.#lost();
      }
    };
  }

  #take(event: NodeEvent): void {
    switch (event.event) {
      case 'message':
        return this.#takeMessage(event.message);
      case 'message_state':
        return this.#change(event.id, (message) => ({ ...message, state: event.state }));
      case 'message_changed':
        return void this.client.get('/v1/messages/{id}', { place: { id: event.id } }).then((message) => this.#change(event.id, () => message), () => undefined);
      case 'messages_removed':
        return this.#remove(event.ids);
      case 'movement':
        this.moneyNews += 1;
        return;
      case 'contact_changed':
        void this.loadContacts();
        return void this.look();
      case 'seen':
        return void this.look();
      case 'fetch_progress':
        return void this.fetches.set(event.reference, { state: 'fetching', bytes: event.bytes });
      case 'fetch_complete':
        return void this.fetches.set(event.reference, { state: 'complete' });
      case 'fetch_failed':
        return void this.fetches.set(event.reference, { state: 'stopped', reason: event.reason });
      case 'sos':
        return this.#takeCall(event.sos);
      case 'person':
        this.personNews += 1;
        return;
      case 'room':
        if (!this.room.some((said) => said.id === event.message.id)) this.room = [...this.room, event.message];
        return;
      case 'bulletin': {
        const { author, title, text } = event.bulletin;
        const others = this.bulletins.filter((one) => one.author !== author || one.title !== title);
        this.bulletins = text ? [event.bulletin, ...others] : others;
        return;
      }
      case 'missed':
        return void this.#load();
    }
  }

  #takeCall(call: Sos): void {
    const known = this.calls.some((one) => one.caller === call.caller && one.begun === call.begun);
    this.calls = [call, ...this.calls.filter((one) => one.caller !== call.caller || one.begun !== call.begun)];
    if (!known && !call.own && !call.over) alarm(call);
  }

  #takeMessage(message: Message): void {
    if (this.#peerOf.has(message.id)) return this.#change(message.id, () => message);
    this.#peerOf.set(message.id, message.peer);
    this.#last = Math.max(this.#last, message.sequence);
    this.threads.set(message.peer, [...this.thread(message.peer), message]);
    if (message.file && message.direction === 'out') this.fetches.set(message.file.reference, { state: 'complete' });
    if (message.direction === 'in' && !message.read) notify(this.nameOf(message.peer), message);
  }

  #change(id: string, change: (message: Message) => Message): void {
    const peer = this.#peerOf.get(id);
    if (peer === undefined) return;
    const thread = this.thread(peer);
    const at = thread.findLastIndex((message) => message.id === id);
    const found = thread[at];
    if (found) this.threads.set(peer, thread.with(at, change(found)));
  }

  #remove(ids: readonly string[]): void {
    const gone = new Set(ids);
    for (const peer of new Set(ids.map((id) => this.#peerOf.get(id)))) {
      if (peer !== undefined) this.threads.set(peer, this.thread(peer).filter((message) => !gone.has(message.id)));
    }
    for (const id of ids) this.#peerOf.delete(id);
  }

  thread(peer: string): readonly Message[] {
    return this.threads.get(peer) ?? NOBODY;
  }

  contact(address: string): Contact | undefined {
    return this.contacts.find((contact) => contact.address === address);
  }

  near(address: string): Nearby | undefined {
    return this.nearby.find((one) => one.address === address);
  }

  nameOf(address: string): string {
    return this.contact(address)?.name ?? this.near(address)?.name ?? address.slice(-9);
  }

  get unread(): number {
    let count = 0;
    for (const thread of this.threads.values()) count += unreadOf(thread);
    return count;
  }

  async setName(name: string, visible: boolean): Promise<void> {
    this.me = await this.client.post('/v1/id', { name });
    await this.client.post('/v1/visibility', { visible });
    this.phase = 'ready';
  }

  async markRead(peer: string): Promise<void> {
    const unread = this.thread(peer).filter((message) => message.direction === 'in' && !message.read);
    for (const message of unread) {
      this.#change(message.id, (found) => ({ ...found, read: true }));
      await this.client.post('/v1/messages/{id}/read', undefined, { id: message.id }).catch(() => undefined);
    }
  }

  async fetchFile(message: Message): Promise<void> {
    if (!message.file) return;
    const file = await this.client.post('/v1/files/{message}/fetch', undefined, { message: message.id });
    this.fetches.set(message.file.reference, file.fetch);
  }

  /** Shows a short note for a while. */
  tell(note: string): void {
    this.note = note;
    window.setTimeout(() => {
      if (this.note === note) this.note = undefined;
    }, 4_000);
  }

  async signOut(): Promise<void> {
    await this.client.delete('/v1/browsers', undefined);
    keepToken(undefined);
    location.reload();
  }
}

export function unreadOf(thread: readonly Message[]): number {
  let count = 0;
  for (let at = thread.length - 1; at >= 0; at -= 1) {
    const message = thread[at];
    if (message && message.direction === 'in') {
      if (message.read) break;
      count += 1;
    }
  }
  return count;
}

export const store = new Store();

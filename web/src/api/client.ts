// The one way to the node. Every path and body is typed by the node's own description (openapi.json → schema.d.ts).
import type { components, paths } from '../../gen/schema';

export type Schemas = components['schemas'];
export type Message = Schemas['Message'];
export type MessageState = Schemas['MessageState'];
export type Contact = Schemas['Contact'];
export type Nearby = Schemas['Nearby'];
export type Identity = Schemas['Identity'];
export type Status = Schemas['Status'];
export type NodeEvent = Schemas['Event'];
export type OfferedFile = Schemas['File'];
export type FetchState = Schemas['FetchState'];
export type Sos = Schemas['Sos'];
export type Person = Schemas['Person'];
export type RoomMessage = Schemas['RoomMessage'];
export type Bulletin = Schemas['Bulletin'];
export type Place = Schemas['Place'];
export type Doctor = Schemas['Doctor'];

type With<M extends 'get' | 'post' | 'delete' | 'put'> = { [P in keyof paths]: paths[P][M] extends object ? P : never }[keyof paths];
type Answer<P extends keyof paths, M extends keyof paths[P]> = paths[P][M] extends {
  responses: { 200: { content: { 'application/json': infer T } } };
}
  ? T
  : void;
type Body<P extends keyof paths, M extends keyof paths[P]> = paths[P][M] extends {
  requestBody: { content: { 'application/json': infer T } };
}
  ? T
  : undefined;
type Places<P extends keyof paths, M extends keyof paths[P]> = paths[P][M] extends { parameters: { path: infer T } } ? T : undefined;
type Query<P extends keyof paths, M extends keyof paths[P]> = paths[P][M] extends { parameters: { query?: infer T } } ? T : undefined;

/** The node said no, or did not answer. */
export class Refusal extends Error {
  /** The HTTP status; 0 if there was no answer at all. */
  readonly status: number;
  readonly advice: string | undefined;
  constructor(status: number, message: string, advice?: string) {
    super(message);
    this.status = status;
    this.advice = advice;
  }
}

interface Ask {
  place?: Record<string, string | number> | undefined;
  query?: Record<string, unknown> | undefined;
  body?: unknown;
  bytes?: Blob | undefined;
  signal?: AbortSignal | undefined;
}

export class Client {
  #token: string;
  constructor(token: string) {
    this.#token = token;
  }

  async #send(method: string, path: string, ask: Ask): Promise<Response> {
    const place = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(ask.place?.[name] ?? '')));
    const url = new URL(place, location.origin);
    for (const [name, value] of Object.entries(ask.query ?? {})) {
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
    }
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#token}` };
    let body: BodyInit | undefined;
    if (ask.bytes) {
      headers['Content-Type'] = 'application/octet-stream';
      body = ask.bytes;
    } else if (method === 'POST' || method === 'PUT') {
      headers['Content-Type'] = 'application/json';
      body = JSON.stringify(ask.body ?? {});
    }
    let response: Response;
    try {
      response = await fetch(url, { method, headers, body, signal: ask.signal, cache: 'no-store' });
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') throw error;
      throw new Refusal(0, 'the node does not answer');
    }
    if (response.ok) return response;
    const told = (await response.json().catch(() => ({}))) as Partial<Schemas['ErrorBody']>;
    throw new Refusal(response.status, told.error ?? response.statusText, told.advice ?? undefined);
  }

  async #read<T>(method: string, path: string, ask: Ask): Promise<T> {
    const response = await this.#send(method, path, ask);
    const text = await response.text();
    return (text ? JSON.parse(text) : undefined) as T;
  }

  get<P extends With<'get'>>(path: P, ask: { place?: Places<P, 'get'>; query?: Query<P, 'get'>; signal?: AbortSignal } = {}): Promise<Answer<P, 'get'>> {
    return this.#read('GET', path, ask as Ask);
  }

  post<P extends With<'post'>>(path: P, body?: Body<P, 'post'>, place?: Places<P, 'post'>): Promise<Answer<P, 'post'>> {
    return this.#read('POST', path, { body, place: place as Ask['place'] });
  }

  delete<P extends With<'delete'>>(path: P, place: Places<P, 'delete'>, query?: Query<P, 'delete'>): Promise<Answer<P, 'delete'>> {
    return this.#read('DELETE', path, { place: place as Ask['place'], query: query as Ask['query'] });
  }

  /** Gives the node a file. */
  upload(query: NonNullable<Query<'/v1/files', 'post'>>, bytes: Blob, signal?: AbortSignal): Promise<Schemas['Shared']> {
    return this.#read('POST', '/v1/files', { query: query as Record<string, unknown>, bytes, signal });
  }

  /** A list of calls or people in a form that other programs read. */
  async list(path: '/v1/sos/export' | '/v1/safe/export', query: Record<string, string>): Promise<Blob> {
    return (await this.#send('GET', path, { query })).blob();
  }

  /** The bytes of a file that is here. */
  async content(message: string): Promise<Blob> {
    return (await this.#send('GET', '/v1/files/{message}/content', { place: { message } })).blob();
  }

  /** All events from now on. A browser cannot set a header on a WebSocket, so the token goes as a subprotocol. */
  events(): WebSocket {
    const url = new URL('/v1/events', location.origin);
    url.protocol = 'ws:';
    return new WebSocket(url, ['smartmesh', `bearer.${this.#token}`]);
  }
}

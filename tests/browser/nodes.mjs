// Real nodes for the tests: each a process of its own with its own folder and its own loopback host, joined by configured
// peers on loopback, so that nobody hears anybody but those who are joined.
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAM = process.env.SMARTMESH_PROGRAM;
if (!PROGRAM) throw new Error('run this through `cargo xtask browser`');

/** Waits until `look` returns something, and fails with what it waited for. */
export async function until(what, look, patienceMs = 30_000) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${patienceMs} ms in vain until ${what}`);
    await new Promise((next) => setTimeout(next, 50));
  }
}

let hosts = 1;

export class Node {
  constructor(root, name) {
    hosts += 1;
    this.name = name;
    this.root = root;
    this.host = `127.0.0.${hosts}`;
    this.folder = join(root, name.toLowerCase());
    this.port = 0;
    this.named = true;
    /** UDP addresses of those whom it hears. */
    this.peers = [];
  }

  async start() {
    rmSync(join(this.folder, 'api.json'), { force: true });
    const log = openSync(join(this.root, `${this.name}.log`), 'a');
    const args = ['up', '--no-open', '--data', this.folder, '--link', 'peers', '--listen', this.radio, '--api', `${this.host}:${this.port}`];
    if (this.named) args.push('--name', this.name);
    for (const peer of this.peers) args.push('--peer', peer);
    this.process = spawn(PROGRAM, args, { stdio: ['ignore', 'ignore', log] });
    await until(`${this.name} is up`, () => existsSync(join(this.folder, 'api.json')) && this.get('/v1/id').catch(() => undefined));
    // The same address after a restart, as on a phone.
    this.port = Number(new URL(this.connection.url).port);
    this.address = (await this.get('/v1/id')).address;
    return this;
  }

  get connection() {
    return JSON.parse(readFileSync(join(this.folder, 'api.json'), 'utf8'));
  }

  async ask(method, path, body) {
    const { url, token } = this.connection;
    const headers = { Authorization: `Bearer ${token}` };
    let content = body;
    if (body !== undefined && !(body instanceof Uint8Array)) {
      headers['Content-Type'] = 'application/json';
      content = JSON.stringify(body);
    }
    const answer = await fetch(url + path, { method, headers, body: content });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  get = (path) => this.ask('GET', path);
  post = (path, body = {}) => this.ask('POST', path, body);

  /** An address that opens the app once. */
  key = async () => (await this.post('/v1/browsers/key')).url;

  /** Ends it without a chance to say goodbye. */
  async kill(signal = 'SIGKILL') {
    if (!this.process) return;
    const ended = new Promise((next) => this.process.once('exit', next));
    this.process.kill(signal);
    await ended;
    this.process = undefined;
  }
}

async function freePorts(count) {
  const sockets = await Promise.all(
    Array.from({ length: count }, () => new Promise((ready) => {
      const socket = createSocket('udp4');
      socket.bind(0, '127.0.0.1', () => ready(socket));
    })),
  );
  const ports = sockets.map((socket) => socket.address().port);
  await Promise.all(sockets.map((socket) => new Promise((closed) => socket.close(closed))));
  return ports;
}

/** Nodes of these names, joined by these pairs; not started yet. */
export async function village(names, lines = []) {
  const root = mkdtempSync(join(tmpdir(), 'smartmesh-browser-'));
  const nodes = Object.fromEntries(names.map((name) => [name, new Node(root, name)]));
  const ports = await freePorts(names.length);
  names.forEach((name, at) => (nodes[name].radio = `127.0.0.1:${ports[at]}`));
  for (const [a, b] of lines) {
    nodes[a].peers.push(nodes[b].radio);
    nodes[b].peers.push(nodes[a].radio);
  }
  return {
    ...nodes,
    root,
    async start() {
      await Promise.all(names.map((name) => nodes[name].start()));
      return this;
    },
    async end() {
      await Promise.all(names.map((name) => nodes[name].kill()));
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** Two people scan each other's codes. */
export async function introduce(a, b) {
  for (const [one, other] of [[a, b], [b, a]]) {
    const { invite } = await other.post('/v1/invite');
    await one.post('/v1/contacts', { who: invite, name: other.name });
  }
}

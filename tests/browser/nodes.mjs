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
const villages = new Set();

/** Ends whatever a failed test has left behind. */
export async function endAll() {
  await Promise.all([...villages].map((one) => one.end()));
}

export class Node {
  constructor(root, name) {
    hosts += 1;
    this.name = name;
    this.root = root;
    this.host = `127.0.0.${hosts}`;
    this.folder = join(root, name.toLowerCase());
    this.port = 0;
    this.named = true;
    this.link = 'peers';
    /** UDP addresses of those whom it hears. */
    this.peers = [];
  }

  async start() {
    rmSync(join(this.folder, 'api.json'), { force: true });
    const log = openSync(join(this.root, `${this.name}.log`), 'a');
    const args = ['up', '--no-open', '--data', this.folder, '--link', this.link, '--listen', this.radio, '--api', `${this.host}:${this.port}`];
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

const bound = () =>
  new Promise((ready) => {
    const socket = createSocket('udp4');
    socket.on('error', () => {});
    socket.bind(0, '127.0.0.1', () => ready(socket));
  });
const addressOf = (socket) => `127.0.0.1:${socket.address().port}`;

/** The air between two phones: what one sends to its end goes out of the other, unless it is cut. */
class Line {
  cut = false;
  static async between(a, b) {
    const line = new Line();
    line.ends = [await bound(), await bound()];
    const carry = (from, sender, to, receiver) =>
      from.on('message', (datagram, origin) => {
        if (!line.cut && origin.port === sender.port) to.send(datagram, receiver.port, '127.0.0.1');
      });
    const [nearA, nearB] = line.ends;
    carry(nearA, { port: Number(a.radio.split(':')[1]) }, nearB, { port: Number(b.radio.split(':')[1]) });
    carry(nearB, { port: Number(b.radio.split(':')[1]) }, nearA, { port: Number(a.radio.split(':')[1]) });
    a.peers.push(addressOf(nearA));
    b.peers.push(addressOf(nearB));
    return line;
  }
}

/** Nodes of these names, joined by these pairs; not started yet. */
export async function village(names, pairs = []) {
  const root = mkdtempSync(join(tmpdir(), 'smartmesh-browser-'));
  const nodes = Object.fromEntries(names.map((name) => [name, new Node(root, name)]));
  // All are held until all are chosen, so that no two are the same.
  const held = await Promise.all(names.map(bound));
  names.forEach((name, at) => (nodes[name].radio = addressOf(held[at])));
  for (const socket of held) socket.close();
  const lines = new Map();
  for (const [a, b] of pairs) lines.set([a, b].sort().join(' '), await Line.between(nodes[a], nodes[b]));
  const made = {
    ...nodes,
    root,
    all: names.map((name) => nodes[name]),
    /** Lets two phones hear each other no more, or again. */
    cut(a, b, cut = true) {
      lines.get([a, b].sort().join(' ')).cut = cut;
    },
    async start() {
      await Promise.all(names.map((name) => nodes[name].start()));
      return this;
    },
    async end() {
      await Promise.all(names.map((name) => nodes[name].kill()));
      for (const line of lines.values()) for (const end of line.ends.splice(0)) end.close();
      rmSync(root, { recursive: true, force: true });
      villages.delete(made);
    },
  };
  villages.add(made);
  return made;
}

/** Two people scan each other's codes. */
export async function introduce(a, b) {
  for (const [one, other] of [[a, b], [b, a]]) {
    const { invite } = await other.post('/v1/invite');
    await one.post('/v1/contacts', { who: invite, name: other.name });
  }
}

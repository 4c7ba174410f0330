// What goes wrong: a stopped phone, two tabs, refused camera and microphone, strangers' pages. Each says what to do.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { person, picture, quit } from './browser.mjs';
import { introduce, until, village } from './nodes.mjs';

after(quit);

async function one() {
  const both = await village(['Ann', 'Ben'], [['Ann', 'Ben']]);
  await both.start();
  await introduce(both.Ann, both.Ben);
  return both;
}

test('a phone that stops and starts again under an open page', async () => {
  const both = await one();
  const user = await person();
  const page = await user.page();
  await page.goto(await both.Ann.key());
  await page.getByRole('heading', { name: '1 person near you' }).waitFor();
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await both.Ann.kill();
  await page.getByText('SmartMesh has stopped. What you see may be old.').waitFor();
  await picture(page, 'x-stopped-open');
  // A reload finds the shell that the browser kept, and it says how to go on.
  await page.reload();
  await page.getByRole('heading', { name: 'SmartMesh has stopped on this phone' }).waitFor();
  await picture(page, 'x-stopped-reload');
  await both.Ann.start();
  await page.getByRole('heading', { name: /near/ }).waitFor({ timeout: 20_000 });
  await both.Ben.post('/v1/messages', { to: 'Ann', text: 'Are you back?' });
  await page.getByText('1 new message').first().waitFor();
  await user.close();
  await both.end();
});

test('two tabs show the same, and a reload forgets nothing', async () => {
  const both = await one();
  const user = await person();
  const [first, second] = [await user.page(), await user.page()];
  await first.goto(await both.Ann.key());
  await first.getByRole('heading', { name: /near/ }).waitFor();
  const chat = `${new URL(first.url()).origin}/#/chats/${both.Ben.address}`;
  await second.goto(chat);
  await first.goto(chat);
  await second.getByRole('textbox').fill('From the second tab');
  await second.getByRole('button', { name: 'Send' }).click();
  await first.getByText('From the second tab', { exact: true }).waitFor();
  await first.reload();
  await first.getByText('From the second tab', { exact: true }).waitFor();
  await user.close();
  await both.end();
});

test('without the key the page stays locked, and says how to open it', async () => {
  const both = await one();
  const user = await person();
  const page = await user.page();
  const key = await both.Ann.key();
  await page.goto(new URL('/', key).href);
  await page.getByRole('heading', { name: 'This page is locked' }).waitFor();
  await page.getByText('smartmesh open').waitFor();
  await picture(page, 'x-locked');
  await page.goto(key);
  await page.getByRole('heading', { name: /near/ }).waitFor();
  assert.equal(new URL(page.url()).hash, '', 'the key is gone from the address');
  const thief = await person();
  const other = await thief.page();
  await other.goto(key);
  await other.getByRole('heading', { name: 'This page is locked' }).waitFor();
  await user.close();
  await thief.close();
  await both.end();
});

test('camera and microphone refused: each says what happened and what to do', async () => {
  const both = await one();
  const user = await person();
  const page = await user.page();
  await page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
  });
  await page.goto(await both.Ann.key());
  await page.getByRole('heading', { name: /near/ }).waitFor();
  const origin = new URL(page.url()).origin;
  await page.goto(`${origin}/#/add/scan`);
  await page.getByRole('button', { name: 'Scan a code' }).click();
  await page.getByRole('alert').getByText('You did not allow the camera').waitFor();
  await picture(page, 'x-camera-refused');
  await page.goto(`${origin}/#/chats/${both.Ben.address}`);
  await page.getByRole('button', { name: 'Record a voice message' }).click();
  await page.getByText('You did not allow the microphone').waitFor();
  await user.close();
  await both.end();
});

test('people add each other by a picture of a code', async () => {
  const both = await village(['Ann', 'Ben'], [['Ann', 'Ben']]);
  await both.start();
  const [ann, ben] = [await person(), await person()];
  const [mine, theirs] = [await ann.page(), await ben.page()];
  await theirs.goto(await both.Ben.key());
  await theirs.getByRole('heading', { name: /near/ }).waitFor();
  await theirs.goto(`${new URL(theirs.url()).origin}/#/add`);
  const code = await theirs.getByRole('img', { name: /Your code/ }).screenshot();
  await mine.goto(await both.Ann.key());
  await mine.getByRole('heading', { name: /near/ }).waitFor();
  await mine.goto(`${new URL(mine.url()).origin}/#/add/scan`);
  await mine.locator('input[type=file]').setInputFiles({ name: 'code.png', mimeType: 'image/png', buffer: code });
  await mine.getByLabel('What do you call them?').fill('Ben from the mill');
  await mine.getByRole('button', { name: 'Add', exact: true }).click();
  await mine.getByRole('heading', { name: 'Ben from the mill' }).waitFor();
  await picture(mine, 'x-added');
  const [contact] = await both.Ann.get('/v1/contacts');
  assert.equal(contact.address, both.Ben.address);
  await ann.close();
  await ben.close();
  await both.end();
});

test('a page of another origin can do nothing', async () => {
  const both = await one();
  const { url, token } = both.Ann.connection;
  const server = createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<h1>elsewhere</h1>')).listen(0, '127.0.0.1');
  await until('it listens', () => server.address());
  const user = await person();
  const page = await user.page();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const tried = await page.evaluate(
    async ([url, token]) => {
      const fails = (work) => work.then(() => 'done', () => 'failed');
      const socket = new Promise((done, failed) => {
        const open = new WebSocket(url.replace('http', 'ws') + '/v1/events', ['smartmesh', `bearer.${token}`]);
        open.onopen = done;
        open.onerror = failed;
      });
      const frame = document.createElement('iframe');
      frame.src = url;
      document.body.append(frame);
      await new Promise((next) => (frame.onload = next));
      return {
        read: await fails(fetch(`${url}/v1/id`, { headers: { Authorization: `Bearer ${token}` } })),
        write: await fails(fetch(`${url}/v1/shutdown`, { method: 'POST', mode: 'no-cors', headers: { 'Content-Type': 'text/plain' }, body: '{}' }).then((answer) => (answer.ok ? true : Promise.reject()))),
        socket: await fails(socket),
      };
    },
    [url, token],
  );
  assert.deepEqual(tried, { read: 'failed', write: 'failed', socket: 'failed' });
  // The frame shows nothing of the app: the browser put its refusal there.
  assert.ok(page.frames().every((frame) => !frame.url().startsWith(url)), 'the app may not be framed');
  const foreign = await fetch(`${url}/v1/id`, { headers: { Authorization: `Bearer ${token}`, Origin: 'http://evil.example' } });
  assert.equal(foreign.status, 403);
  await user.context.close();
  server.close();
  await both.end();
});

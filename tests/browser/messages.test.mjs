// Messages, files and voices between real phones, with paths that are long, lossy, cut, or made by people who walk.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { person, picture, quit } from './browser.mjs';
import { introduce, until, village } from './nodes.mjs';

after(quit);

const sha = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** A real JPEG of this size: a picture that the browser draws, padded behind its end. */
async function photo(page, bytes) {
  const drawn = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(1600, 1200);
    const pen = canvas.getContext('2d');
    const sky = pen.createLinearGradient(0, 0, 0, 1200);
    sky.addColorStop(0, '#28407a');
    sky.addColorStop(0.6, '#f2b04d');
    sky.addColorStop(1, '#0b5d4b');
    pen.fillStyle = sky;
    pen.fillRect(0, 0, 1600, 1200);
    pen.fillStyle = '#16211c';
    pen.fillRect(0, 780, 1600, 60);
    for (let at = 100; at < 1600; at += 300) pen.fillRect(at, 780, 40, 420);
    const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.9 });
    return [...new Uint8Array(await blob.arrayBuffer())];
  });
  return Buffer.concat([Buffer.from(drawn), randomBytes(bytes - drawn.length)]);
}

test('a photo of 4 MB crosses three hops that lose one frame in twenty', async () => {
  const row = await village(['Ann', 'Ben', 'Cleo', 'Dan'], [['Ann', 'Ben'], ['Ben', 'Cleo'], ['Cleo', 'Dan']]);
  for (const node of row.all) node.link = 'lossy:loss=0.05:peers';
  await row.start();
  await introduce(row.Ann, row.Dan);
  const ann = await person();
  const dan = await person();
  const [from, at] = [await ann.page(), await dan.page()];
  await from.goto(await row.Ann.key());
  await at.goto(await row.Dan.key());
  await from.getByRole('heading', { name: /near you/ }).waitFor();
  const bytes = await photo(from, 4_000_000);
  await from.goto(`${new URL(from.url()).origin}/#/chats/${row.Dan.address}`);
  await from.locator('input[type=file]').setInputFiles({ name: 'bridge.jpg', mimeType: 'image/jpeg', buffer: bytes });
  await at.goto(`${new URL(at.url()).origin}/#/chats/${row.Ann.address}`);
  const get = at.getByRole('button', { name: /Get it/ });
  await get.waitFor();
  await picture(at, '2-photo-offered');
  const began = Date.now();
  await get.click();
  await at.locator('img[alt="Photo bridge.jpg"]').waitFor({ timeout: 120_000 });
  console.log(`the original was complete after ${Date.now() - began} ms`);
  await picture(at, '2-photo-here');
  const [message] = (await row.Dan.get('/v1/messages')).filter((one) => one.file);
  const { url, token } = row.Dan.connection;
  const received = Buffer.from(await (await fetch(`${url}/v1/files/${message.id}/content`, { headers: { Authorization: `Bearer ${token}` } })).arrayBuffer());
  assert.equal(sha(received), sha(bytes));
  await ann.close();
  await dan.close();
  await row.end();
});

test('a voice is recorded in the browser and heard on the other phone', async () => {
  const both = await village(['Ann', 'Ben'], [['Ann', 'Ben']]);
  await both.start();
  await introduce(both.Ann, both.Ben);
  const ann = await person({ permissions: ['microphone'] });
  const page = await ann.page();
  await page.goto(await both.Ann.key());
  await page.getByRole('heading', { name: /near/ }).waitFor();
  await page.goto(`${new URL(page.url()).origin}/#/chats/${both.Ben.address}`);
  await page.getByRole('button', { name: 'Record a voice message' }).click();
  await page.getByText('0:02').waitFor();
  await picture(page, '3-recording');
  await page.getByRole('button', { name: 'Send' }).click();
  const ben = await person();
  const other = await ben.page();
  await other.goto(await both.Ben.key());
  await other.getByRole('heading', { name: /near/ }).waitFor();
  await other.goto(`${new URL(other.url()).origin}/#/chats/${both.Ann.address}`);
  await other.locator('audio').waitFor();
  // The fake microphone beeps; silence would have no loud samples.
  const loudest = await other.locator('audio').evaluate(async (audio) => {
    const bytes = await (await fetch(audio.src)).arrayBuffer();
    const heard = await new OfflineAudioContext(1, 48_000, 48_000).decodeAudioData(bytes);
    return { seconds: heard.duration, peak: heard.getChannelData(0).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) };
  });
  assert.ok(loudest.seconds > 1 && loudest.peak > 0.05, JSON.stringify(loudest));
  await picture(other, '3-voice-arrived');
  await ann.close();
  await ben.close();
  await both.end();
});

test('mail goes on foot: waiting, carried by one, arrived, and nobody on the way can read it', async () => {
  const three = await village(['Ann', 'Ben', 'Cleo'], [['Ann', 'Ben'], ['Ben', 'Cleo']]);
  await three.start();
  await introduce(three.Ann, three.Cleo);
  await three.Cleo.kill();
  three.cut('Ben', 'Cleo');
  three.cut('Ann', 'Ben');
  const ann = await person();
  const page = await ann.page();
  await page.goto(await three.Ann.key());
  await page.getByRole('heading', { name: 'Nobody is near yet' }).waitFor();
  await page.goto(`${new URL(page.url()).origin}/#/chats/${three.Cleo.address}`);
  const secret = 'The well behind the school has clean water.';
  await page.getByRole('textbox').fill(secret);
  await page.getByRole('button', { name: 'Send' }).click();
  await page.locator('.story', { hasText: 'Waiting' }).waitFor();
  await picture(page, '4-waiting');
  // Ben comes by.
  three.cut('Ann', 'Ben', false);
  await page.locator('.story', { hasText: 'Carried by 1 person' }).waitFor({ timeout: 60_000 });
  await picture(page, '4-carried');
  // He walks on to Cleo.
  three.cut('Ann', 'Ben');
  const folder = three.Ben.folder;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isFile()) assert.ok(!readFileSync(path).includes(secret), `${name} holds what Ann wrote`);
  }
  await three.Cleo.start();
  three.cut('Ben', 'Cleo', false);
  await until('Cleo has it', async () => (await three.Cleo.get('/v1/messages')).some((one) => one.text === secret), 60_000);
  // Nobody has told Ann yet: her phone does not claim that it knows.
  assert.equal(await page.locator('.story', { hasText: 'Carried' }).count(), 1);
  // He comes back and brings the answer.
  three.cut('Ben', 'Cleo');
  three.cut('Ann', 'Ben', false);
  await page.locator('.bubble').getByText('Arrived', { exact: true }).waitFor({ state: 'attached', timeout: 60_000 });
  await picture(page, '4-arrived');
  await ann.close();
  await three.end();
});

// The first minute, as somebody who has never seen the program: a name, a person nearby, a message that arrives.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { faults, person, picture, quit } from './browser.mjs';
import { until, village } from './nodes.mjs';

/** Words of our trade that nobody should meet in simple mode. */
const JARGON = /\b(node|peer|peers|hop|hops|DHT|gas|channel|daemon|API|TUN|UDP|QUIC|protocol|metric|epoch)\b/i;

after(quit);

/** Two phones that nobody has named yet, near each other. */
async function strangers() {
  const both = await village(['Amina', 'Brandon'], [['Amina', 'Brandon']]);
  both.Amina.named = false;
  await both.start();
  await both.Brandon.post('/v1/visibility', { visible: true });
  return both;
}

test('a newcomer reaches a stranger nearby within a minute and eight actions', async () => {
  const both = await strangers();
  const user = await person();
  const page = await user.page();
  let actions = 0;
  const act = async (work) => {
    actions += 1;
    await work;
  };
  const began = Date.now();
  await page.goto(await both.Amina.key());
  await act(page.getByLabel('Your name').fill('Amina'));
  await picture(page, '1-name');
  assert.deepEqual(await faults(page), []);
  await act(page.getByRole('button', { name: 'Start' }).click());
  await page.getByRole('heading', { name: '1 person near you' }).waitFor();
  assert.doesNotMatch(await page.innerText('body'), JARGON);
  await picture(page, '1-home');
  await act(page.getByRole('link', { name: 'People' }).click());
  await act(page.getByRole('link', { name: /Brandon/ }).click());
  await act(page.getByRole('button', { name: 'Message' }).click());
  await act(page.getByRole('textbox').fill('Hello! Who is there?'));
  await act(page.getByRole('button', { name: 'Send' }).click());
  await page.locator('.bubble').getByText('Arrived', { exact: true }).waitFor({ state: 'attached' });
  const took = Date.now() - began;
  await picture(page, '1-arrived');
  assert.doesNotMatch(await page.innerText('body'), JARGON);
  assert.ok(took <= 60_000, `${took} ms`);
  assert.ok(actions <= 8, `${actions} actions`);
  console.log(`first message arrived after ${took} ms and ${actions} actions`);
  const [message] = await until('Brandon has it', async () => {
    const messages = await both.Brandon.get('/v1/messages');
    return messages.length > 0 && messages;
  });
  assert.equal(message.text, 'Hello! Who is there?');
  assert.equal((await both.Amina.get('/v1/id')).name, 'Amina');
  await user.close();
  await both.end();
});

test('the same by keyboard alone', async () => {
  const both = await strangers();
  const user = await person();
  const page = await user.page();
  await page.goto(await both.Amina.key());
  await page.getByLabel('Your name').waitFor();
  // The name is chosen already, so that typing replaces it.
  await page.keyboard.type('Amina');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: '1 person near you' }).waitFor();
  const press = async (name) => {
    for (let tries = 0; tries < 40; tries += 1) {
      await page.keyboard.press('Tab');
      const focused = await page.evaluate(() => document.activeElement?.textContent?.trim() || document.activeElement?.getAttribute('aria-label') || '');
      if (name.test(focused)) return page.keyboard.press('Enter');
    }
    throw new Error(`nothing called ${name} can be reached with Tab`);
  };
  await press(/^People$/);
  await page.getByRole('heading', { name: 'People' }).waitFor();
  await press(/Brandon/);
  await page.getByRole('heading', { name: 'Brandon' }).waitFor();
  await press(/^Message$/);
  await page.getByRole('textbox').focus();
  await page.keyboard.type('By keyboard');
  await page.keyboard.press('Enter');
  await page.locator('.bubble').getByText('Arrived', { exact: true }).waitFor({ state: 'attached' });
  await user.close();
  await both.end();
});

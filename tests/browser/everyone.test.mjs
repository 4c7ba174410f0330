// The app for everybody: a reader's ear, dark rooms, large letters, other languages, long histories.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DESK, PHONE, SMALL, faults, person, picture, quit } from './browser.mjs';
import { introduce, until, village } from './nodes.mjs';

let four;

before(async () => {
  four = await village(['Amina', 'Brandon', 'Chen', 'Dalia'], [['Amina', 'Brandon'], ['Brandon', 'Chen'], ['Chen', 'Dalia']]);
  await four.start();
  for (const other of [four.Brandon, four.Chen, four.Dalia]) await introduce(four.Amina, other);
  await until('all are near', async () => (await four.Amina.get('/v1/nearby')).length >= 3);
  await four.Brandon.post('/v1/messages', { to: 'Amina', text: 'Is the bridge still standing?' });
  await until('it is there', async () => (await four.Amina.get('/v1/messages')).length === 1);
  for (const text of ['Yes! I walked over it this morning. The water is high, but the road is dry on the other side.', 'Bring boots.']) {
    const { id } = await four.Amina.post('/v1/messages', { to: 'Brandon', text });
    await four.Amina.get(`/v1/messages/${id}?wait_ms=10000`);
  }
  await four.Chen.post('/v1/messages', { to: 'Amina', text: 'I have rice and clean water for the school. Come by.' });
  await until('that too', async () => (await four.Amina.get('/v1/messages')).length === 4);
});

after(async () => {
  await four.end();
  await quit();
});

/** Every screen of the app and where it is. */
const screens = () => ({
  home: '',
  chats: 'chats',
  chat: `chats/${four.Brandon.address}`,
  people: 'people',
  person: `person/${four.Chen.address}`,
  'add-mine': 'add',
  'add-scan': 'add/scan',
  share: 'share',
  sos: 'sos',
  safe: 'safe',
  room: 'room',
  settings: 'more',
});

async function enter(options) {
  const user = await person(options);
  const page = await user.page();
  await page.goto(await four.Amina.key());
  await page.locator('nav').first().waitFor();
  const show = async (path) => {
    await page.evaluate((hash) => (location.hash = hash), `#/${path}`);
    await page.locator('h1').first().waitFor();
    await page.waitForLoadState('networkidle');
  };
  return { user, page, show };
}

for (const scheme of ['light', 'dark']) {
  for (const [size, viewport] of [['390', PHONE], ['1280', DESK]]) {
    test(`axe finds nothing serious, ${scheme}, ${size} px`, async () => {
      const { user, page, show } = await enter({ viewport, scheme });
      const found = [];
      for (const [name, path] of Object.entries(screens())) {
        await show(path);
        await picture(page, `screen-${name}-${size}-${scheme}`);
        for (const fault of await faults(page)) found.push(`${name}: ${fault}`);
      }
      assert.deepEqual(found, []);
      await user.close();
    });
  }
}

test('letters of twice the size fit on a screen of 320 px', async () => {
  const { user, page, show } = await enter({ viewport: SMALL });
  for (const [name, path] of Object.entries(screens())) {
    await show(path);
    await page.evaluate(() => (document.documentElement.style.fontSize = '200%'));
    await picture(page, `large-${name}`);
    const clipped = await page.evaluate(() => {
      const bad = [];
      if (document.documentElement.scrollWidth > innerWidth) bad.push(`the page is ${document.documentElement.scrollWidth} px wide`);
      for (const button of document.querySelectorAll('button, a, input, select, textarea')) {
        const box = button.getBoundingClientRect();
        if (box.width === 0 || getComputedStyle(button).clipPath !== 'none' || button.closest('.skip')) continue;
        const what = `${button.tagName} ${(button.textContent || button.getAttribute('aria-label') || '').trim().slice(0, 30)}`;
        if (button.tagName === 'BUTTON' && button.scrollWidth > button.clientWidth + 1) bad.push(`${what}: its text is cut off`);
        if (box.left < -1 || box.right > innerWidth + 1) bad.push(`${what}: reaches from ${Math.round(box.left)} to ${Math.round(box.right)}`);
      }
      return bad;
    });
    assert.deepEqual(clipped, [], name);
  }
  await user.close();
});

test('six languages, changed without a reload, one of them from right to left', async () => {
  const { user, page, show } = await enter({});
  await show('more');
  await page.evaluate(() => (window.sameePage = true));
  const seen = new Set();
  for (const [code, direction] of Object.entries({ es: 'ltr', fr: 'ltr', zh: 'ltr', ar: 'rtl', sw: 'ltr', en: 'ltr' })) {
    await page.locator('select').selectOption(code);
    await page.locator(`html[lang=${code}][dir=${direction}]`).waitFor({ state: 'attached' });
    seen.add(await page.locator('h1').innerText());
    await picture(page, `language-${code}-settings`);
    await show('');
    await picture(page, `language-${code}-home`);
    assert.deepEqual(await faults(page), [], code);
    await show('more');
  }
  assert.equal(seen.size, 6, [...seen].join(', '));
  assert.equal(await page.evaluate(() => window.sameePage), true, 'the page was not loaded again');
  await user.close();
});

test('a history of 10,000 messages scrolls without a jolt', async () => {
  const { user, page } = await enter({});
  const peer = four.Brandon.address;
  const history = Array.from({ length: 10_000 }, (_, at) => ({
    id: at.toString(16).padStart(32, '0'),
    sequence: at + 1,
    peer,
    peer_name: 'Brandon',
    direction: at % 3 === 0 ? 'out' : 'in',
    text: `Message ${at}. ${'A few more words. '.repeat(at % 7)}`,
    file: null,
    sent_at: 1_790_000_000 + at * 60,
    path: 'live',
    state: at % 3 === 0 ? { state: 'read' } : null,
    read: true,
  }));
  await page.route('**/v1/messages?*', (route) => {
    const query = new URL(route.request().url()).searchParams;
    const after = Number(query.get('after'));
    return route.fulfill({ json: history.slice(after, after + Number(query.get('limit'))) });
  });
  await page.goto(`${new URL(page.url()).origin}/#/chats/${peer}`);
  await page.reload();
  await page.getByText('Message 9999.').waitFor();
  const rows = await page.locator('.line').count();
  assert.ok(rows < 60, `${rows} rows are in the page`);
  const long = await page.evaluate(async () => {
    const tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: 'longtask' });
    const scroller = document.querySelector('.scroller');
    for (let step = 0; step < 200; step += 1) {
      scroller.scrollTop -= 700;
      await new Promise((next) => requestAnimationFrame(next));
    }
    await new Promise((next) => setTimeout(next, 100));
    return tasks;
  });
  console.log(`long tasks while scrolling: ${long.length}${long.length ? `, longest ${Math.max(...long)} ms` : ''}`);
  await picture(page, 'history-middle');
  assert.equal(await page.getByText('Message 9999.').count(), 0);
  await page.getByRole('button', { name: 'To the newest message' }).click();
  await page.getByText('Message 9999.').waitFor();
  await user.close();
});

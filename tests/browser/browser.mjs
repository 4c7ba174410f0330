// The browser of the tests: Chromium as Debian packs it, without a screen.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { endAll } from './nodes.mjs';

const OUT = process.env.SMARTMESH_BROWSER_OUT ?? join(import.meta.dirname, 'out');
const AXE = readFileSync(join(dirname(createRequire(import.meta.url).resolve('axe-core')), 'axe.min.js'), 'utf8');

let browser;

export async function launch() {
  browser ??= await chromium.launch({
    executablePath: process.env.SMARTMESH_CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
    ],
  });
  return browser;
}

/** Ends the browser, and the phones that a failed test has left behind. */
export async function quit() {
  await endAll();
  await browser?.close();
  browser = undefined;
}

export const PHONE = { width: 390, height: 844 };
export const SMALL = { width: 320, height: 640 };
export const DESK = { width: 1280, height: 800 };

/** A browser of its own with nothing in it. Errors of the page end the test. */
export async function person({ viewport = PHONE, permissions = [], locale = 'en-GB', scheme = 'light', ...more } = {}) {
  const context = await (await launch()).newContext({ viewport, permissions, locale, colorScheme: scheme, hasTouch: viewport.width < 900, deviceScaleFactor: 2, ...more });
  const errors = [];
  context.on('weberror', (error) => errors.push(String(error.error())));
  context.on('console', (message) => {
    // A node that was stopped on purpose is told by the browser as a failed request.
    if (message.type() === 'error' && !/ERR_CONNECTION|WebSocket connection|status of (401|404|502|503|504)/.test(message.text())) errors.push(message.text());
  });
  return {
    context,
    errors,
    page: () => context.newPage(),
    close: async () => {
      await context.close();
      if (errors.length > 0) throw new Error(`the page told of errors:\n${errors.join('\n')}`);
    },
  };
}

/** Keeps a picture of the screen among the test's output. */
export async function picture(page, name) {
  mkdirSync(OUT, { recursive: true });
  await page.screenshot({ path: join(OUT, `${name}.png`), animations: 'disabled' });
}

/** Serious findings of axe on the page as it is. */
export async function faults(page) {
  await page.evaluate(`${AXE};0`).catch(async () => page.addScriptTag({ content: AXE }));
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map((one) => `${one.id}: ${one.help}\n    ${one.nodes.map((node) => `${node.target.join(' ')} ${node.failureSummary ?? ''}`).join('\n    ')}`);
}

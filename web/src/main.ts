import './style/base.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { store } from './store/store.svelte';
import { go } from './store/route.svelte';
import { speakAsWanted } from './words/words.svelte';

const target = document.getElementById('app');
if (target) {
  // The words first, so that nobody sees a language that is not theirs.
  void speakAsWanted().then(() => mount(App, { target }));
}
void store.open();
// A new key pasted into the address of an open page is no load of the page.
window.addEventListener('hashchange', () => {
  if (location.hash.startsWith('#open=')) void store.open();
});

if ('serviceWorker' in navigator && !import.meta.env.DEV) {
  void navigator.serviceWorker.register('/sw.js').catch(() => undefined);
  navigator.serviceWorker.addEventListener('message', (event: MessageEvent<{ open?: string }>) => {
    const [, screen, what] = (event.data.open ?? '').split('/');
    if (screen) go(screen, what);
  });
}

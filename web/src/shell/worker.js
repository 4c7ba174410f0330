// Keeps the app's own files, so that the page opens with the node stopped and can say so. It never keeps an answer of the
// API: what the node says is not true any more when it is silent.
const CACHE = 'smartmesh-__VERSION__';
const FILES = __FILES__;

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const old = (names) => names.filter((name) => name.startsWith('smartmesh-') && name !== CACHE);
  event.waitUntil(
    caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))).then(() => self.clients.claim()),
  );
});

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== self.location.origin) return;
  const name = event.request.mode === 'navigate' && url.pathname === '/' ? '/' : url.pathname;
  if (!FILES.includes(name)) return;
  // The page itself from the node while it answers, so that a new version shows at once; the rest never changes its name.
  const kept = () => caches.open(CACHE).then((cache) => cache.match(name));
  if (name === '/') event.respondWith(fetch(event.request).catch(kept));
  else event.respondWith(kept().then((answer) => answer ?? fetch(event.request)));
});

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  const target = event.notification.data;
  event.waitUntil(
    self.clients.matchAll({ type: 'window' }).then((open) => {
      const one = open[0];
      if (!one) return self.clients.openWindow('/' + target);
      one.postMessage({ open: target });
      return one.focus();
    }),
  );
});

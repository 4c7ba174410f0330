import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// Everything comes from the node itself: no inline script or style (the policy forbids both), no outside host.
export default defineConfig({
  plugins: [svelte({ emitCss: true })],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: { index: 'index.html', village: 'village.html' } },
  },
});

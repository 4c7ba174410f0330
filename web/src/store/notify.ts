// Notifications of the phone, where they are allowed, and only while nobody looks at the page.
import type { Message, Sos } from '../api/client';
import { t } from '../words/words.svelte';

const PLACE = 'smartmesh.notify';

export const canNotify = (): boolean => 'Notification' in window && 'serviceWorker' in navigator;

export function notifies(): boolean {
  try {
    return canNotify() && Notification.permission === 'granted' && localStorage.getItem(PLACE) === 'on';
  } catch {
    return false;
  }
}

/** Asks for the permission at the moment the person wants it; whether it is given. */
export async function setNotify(on: boolean): Promise<boolean> {
  if (on && (await Notification.requestPermission()) !== 'granted') return false;
  localStorage.setItem(PLACE, on ? 'on' : 'off');
  return true;
}

/** A call for help shakes the phone, also while somebody looks at it. */
export function alarm(call: Sos): void {
  navigator.vibrate?.([400, 150, 400, 150, 400]);
  if (!notifies()) return;
  void navigator.serviceWorker.ready.then((worker) =>
    worker.showNotification(t('sos.alarm', { name: call.name }), { body: call.note, tag: `sos ${call.caller}`, icon: '/icon.svg', requireInteraction: true, data: '#/sos' }),
  );
}

export function notify(from: string, message: Message): void {
  if (!notifies() || document.visibilityState === 'visible') return;
  const body = message.file ? t('chats.file', { name: message.file.name }) : message.text;
  void navigator.serviceWorker.ready.then((worker) =>
    worker.showNotification(from, { body, tag: message.peer, icon: '/icon.svg', data: `#/chats/${message.peer}` }),
  );
}

// The delivery story in words: where a message honestly is, why, and what happens next.
import type { MessageState } from '../api/client';
import { dayAndClock, t } from '../words/words.svelte';

export function stateWord(state: MessageState): string {
  switch (state.state) {
    case 'waiting':
      return t('state.waiting');
    case 'carried':
      return t('state.carried', { count: state.by });
    case 'sent':
      return t('state.sent');
    case 'arrived':
      return t('state.arrived');
    case 'read':
      return t('state.read');
    case 'failed':
      return t('state.failed');
  }
}

export function stateStory(state: MessageState, name: string): string {
  switch (state.state) {
    case 'waiting':
      return t('state.waitingLong', { time: dayAndClock(state.until) });
    case 'carried':
      return t('state.carriedLong', { count: state.by, name });
    case 'sent':
      return t('state.sentLong');
    case 'arrived':
      return t('state.arrivedLong', { name });
    case 'read':
      return t('state.readLong', { name });
    case 'failed':
      return t('state.failedLong', { reason: state.reason });
  }
}

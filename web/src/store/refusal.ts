// Why something did not work, as a sentence in the person's language.
import { Refusal } from '../api/client';
import { t } from '../words/words.svelte';
import { taste } from './taste.svelte';

export function inWords(error: unknown): string {
  if (!(error instanceof Refusal)) return t('error.generic');
  const plain = (): string => {
    switch (error.status) {
      case 0:
      case 503:
        return t('stopped.banner');
      case 413:
        return t('chat.tooLong');
      case 429:
        return t('error.full');
      case 502:
      case 504:
        return t('error.noPath');
      case 507:
        return t('file.noSpace');
      default:
        return t('error.generic');
    }
  };
  return taste.expert ? `${plain()} (${error.message})` : plain();
}

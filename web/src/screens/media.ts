// What a file is to a person.
import type { Schemas } from '../api/client';

export type Kind = 'photo' | 'voice' | 'file';
type Offer = Schemas['FileOffer'];

const PHOTOS = ['image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif', 'image/bmp'];

export function kindOf(file: Offer): Kind {
  if (PHOTOS.includes(file.media_type)) return 'photo';
  if (file.media_type.startsWith('audio/')) return 'voice';
  return 'file';
}

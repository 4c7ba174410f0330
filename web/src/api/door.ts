// How this page comes to its token. `smartmesh up` and `smartmesh open` show an address whose fragment holds a key that
// opens once; the page changes it for a token of its own and removes it from the address. Nothing is ever put in a cookie.
const PLACE = 'smartmesh.token';

/** Browsers may refuse storage (a strict setting, a page inside a page); then the token lives as long as the page. */
let memory: string | undefined;

export function keptToken(): string | undefined {
  try {
    return localStorage.getItem(PLACE) ?? memory;
  } catch {
    return memory;
  }
}

export function keepToken(token: string | undefined): void {
  memory = token;
  try {
    if (token) localStorage.setItem(PLACE, token);
    else localStorage.removeItem(PLACE);
  } catch {
    // Kept in memory.
  }
}

/** Changes the key in the address, if there is one, for a token. */
export async function enter(): Promise<string | undefined> {
  const key = /^#open=([0-9a-f]+)$/.exec(location.hash)?.[1];
  if (!key) return keptToken();
  history.replaceState(null, '', location.pathname);
  const answer = await fetch('/enter', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ key }),
  }).catch(() => undefined);
  if (!answer?.ok) return keptToken();
  const { token } = (await answer.json()) as { token: string };
  keepToken(token);
  return token;
}

// Which screen is shown: the part of the address behind `#`, so that Back, reload and links work without the node's help.
export interface Place {
  screen: string;
  /** What it shows, such as a person's address. */
  what: string | undefined;
}

function read(): Place {
  const [screen = '', ...rest] = location.hash.replace(/^#\//, '').split('/');
  const what = rest.length > 0 ? decodeURIComponent(rest.join('/')) : undefined;
  return { screen: screen.startsWith('#') ? '' : screen, what };
}

let place = $state.raw<Place>(read());
window.addEventListener('hashchange', () => {
  place = read();
});

export const here = (): Place => place;
export const to = (screen: string, what?: string): string => `#/${screen}${what === undefined ? '' : `/${encodeURIComponent(what)}`}`;

export function go(screen: string, what?: string): void {
  location.hash = to(screen, what);
}

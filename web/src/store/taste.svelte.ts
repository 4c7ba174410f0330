// What this person likes on this device: colours and how much detail.
export type Theme = 'auto' | 'light' | 'dark';

function kept(name: string): string | undefined {
  try {
    return localStorage.getItem(`smartmesh.${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

function keep(name: string, value: string): void {
  try {
    localStorage.setItem(`smartmesh.${name}`, value);
  } catch {
    // Then it lasts as long as the page.
  }
}

const isTheme = (text: string | undefined): text is Theme => text === 'auto' || text === 'light' || text === 'dark';

class Taste {
  theme = $state<Theme>('auto');
  expert = $state(false);

  constructor() {
    const theme = kept('theme');
    this.setTheme(isTheme(theme) ? theme : 'auto');
    this.expert = kept('expert') === 'yes';
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    if (theme === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    keep('theme', theme);
  }

  setExpert(expert: boolean): void {
    this.expert = expert;
    keep('expert', expert ? 'yes' : 'no');
  }
}

export const taste = new Taste();

// Light or dark: as the system says, until somebody chooses. The choice is kept in the browser.

const system = matchMedia('(prefers-color-scheme: dark)')

class Look {
  chosen = $state(localStorage.getItem('holdfast.theme') || '')
  #system = $state(system.matches)
  dark = $derived(this.chosen ? this.chosen === 'dark' : this.#system)

  constructor() {
    system.addEventListener('change', () => (this.#system = system.matches))
    this.#show()
  }

  turn() {
    this.chosen = this.dark ? 'light' : 'dark'
    localStorage.setItem('holdfast.theme', this.chosen)
    this.#show()
  }

  #show() {
    document.documentElement.dataset.theme = this.chosen
  }
}

export const look = new Look()

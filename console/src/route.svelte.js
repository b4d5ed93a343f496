// Where in the console one is: #/page/part/part.

class Route {
  parts = $state.raw(parse())

  constructor() {
    addEventListener('hashchange', () => (this.parts = parse()))
  }
}

function parse() {
  return location.hash.replace(/^#\/?/, '').split('/').filter(Boolean).map((p) => {
    try {
      return decodeURIComponent(p)
    } catch {
      return p
    }
  })
}

export const route = new Route()
export const to = (...parts) => '#/' + parts.map(encodeURIComponent).join('/')
export const go = (...parts) => (location.hash = to(...parts))

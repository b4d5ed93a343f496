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

/** Goes there. What asks for it right after that is there already, as it is not when the browser is left to tell of it. */
export function go(...parts) {
  location.hash = to(...parts)
  route.parts = parse()
}

// The API as the pages know it: whoever has given a key asks with it.

/** An error as the API tells it: problem+json. */
export class Problem extends Error {
  constructor(said, status) {
    super(said.detail || said.title || `the server answers ${status}`)
    this.status = status
    this.code = said.code || ''
    this.faults = said.errors || []
  }
}

const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
const here = () => location.origin + '/console/'

/** Who is signed in. The key, or the token of a person, is kept for as long as the tab is open, and nowhere else. */
class Session {
  key = $state('')
  self = $state.raw(null)
  why = $state('') // they were signed out

  starting = $state(false) // with a key that was not typed

  constructor() {
    if (new URLSearchParams(location.search).has('state')) this.#back()
    else this.#given(sessionStorage.getItem('holdfast.key'))
    addEventListener('hashchange', () => this.#given())
  }

  /** A key behind # never leaves the browser; it is not left in the address bar, either. */
  #given(kept) {
    const given = new URLSearchParams(location.hash.slice(1))
    const key = given.get('key') || given.get('token')
    if (key) {
      given.delete('key')
      given.delete('token')
      history.replaceState(null, '', location.pathname + (given.size ? '#' + given : ''))
    }
    if (!key && !kept) return
    this.starting = true
    // Not before all of this page is there.
    queueMicrotask(() => this.start(key || kept).catch((why) => this.end(why.message)).finally(() => (this.starting = false)))
  }

  /** Go to where people sign in, which leads back here. What it is exchanged with then stays in this tab. */
  async goSignIn(url) {
    const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)))
    const kept = { verifier: random(), state: random(), nonce: random(), hash: location.hash }
    sessionStorage.setItem('holdfast.sign-in', JSON.stringify(kept))
    const challenge = base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(kept.verifier))))
    const at = new URL(url)
    for (const [name, value] of Object.entries({ redirect_uri: here(), state: kept.state, nonce: kept.nonce, code_challenge: challenge })) at.searchParams.set(name, value)
    location.assign(at)
  }

  /** They are back from there. */
  #back() {
    const said = new URLSearchParams(location.search)
    const kept = JSON.parse(sessionStorage.getItem('holdfast.sign-in') || '{}')
    sessionStorage.removeItem('holdfast.sign-in')
    history.replaceState(null, '', location.pathname + (kept.hash || ''))
    this.starting = true
    const run = async () => {
      if (!kept.state || said.get('state') !== kept.state) throw new Error('That was not begun in this tab, or is over: sign in anew.')
      if (!said.get('code')) throw new Error('You were not signed in.')
      const { token } = await ask('POST', '/v1/sign-in', { code: said.get('code'), code_verifier: kept.verifier, nonce: kept.nonce, redirect_uri: here() })
      await this.start(token)
    }
    queueMicrotask(() => run().catch((why) => this.end(why.message)).finally(() => (this.starting = false)))
  }

  /** Sign in with a key, if it is valid. */
  async start(key) {
    this.key = key.trim()
    this.self = await ask('GET', '/v1/self')
    sessionStorage.setItem('holdfast.key', this.key)
    this.why = ''
  }

  /** Sign out, and say why. */
  end(why = '') {
    sessionStorage.removeItem('holdfast.key')
    this.key = ''
    this.self = null
    this.why = why
  }

  /** Whether the key has one of these roles. */
  may(...roles) {
    return !!this.self && roles.includes(this.self.role)
  }
}

async function fetched(method, path, { body, headers, signal } = {}) {
  const response = await fetch(path, {
    method,
    signal,
    cache: 'no-store',
    headers: { ...(session.key && { Authorization: 'Bearer ' + session.key }), ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch((why) => {
    if (signal?.aborted) throw why
    throw new Problem({ detail: 'The server does not answer. Nothing is known of what was asked.', code: 'no_answer' }, 0)
  })
  if (response.ok) return response
  const said = await response.json().catch(() => ({}))
  if (response.status === 401 && session.key) session.end('This key is not valid, or not any more.')
  throw new Problem(said, response.status)
}

/** What the API answers, as an object. */
export async function ask(method, path, body, headers) {
  const response = await fetched(method, path, { body, headers })
  return response.status === 204 ? null : response.json()
}

/** What the API answers as text, and its headers. */
export async function askText(path, accept) {
  const response = await fetched('GET', path, { headers: { Accept: accept } })
  return { text: await response.text(), headers: response.headers }
}

/** The objects that the API answers with, a line each, as they come. */
export async function* lines(method, path, signal) {
  const response = await fetched(method, path, { signal })
  let text = ''
  for (const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(); ; ) {
    const { value, done } = await reader.read()
    if (done) return
    text += value
    for (let at; (at = text.indexOf('\n')) >= 0; text = text.slice(at + 1)) if (at) yield JSON.parse(text.slice(0, at))
  }
}

/** A path from its parts. */
export const path = (...parts) => '/v1/' + parts.map(encodeURIComponent).join('/')

/** path with a query; what is empty is left out. */
export function query(path, of) {
  const q = new URLSearchParams(Object.entries(of).filter(([, v]) => v !== '' && v !== undefined && v !== null))
  return q.size ? `${path}?${q}` : path
}

const pause = (ms, signal) =>
  new Promise((done) => {
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', () => (clearTimeout(timer), done()), { once: true })
  })

/**
 * Server-sent events, which EventSource cannot ask for with a key. Connects anew until there is no more to come, or stop is called.
 * @param {(name: string, data: any) => void} hear
 * @param {(live: boolean) => void} state whether it is connected
 * @returns {() => void} stop
 */
export function listen(path, hear, state = () => {}) {
  const end = new AbortController()
  const run = async () => {
    let last = ''
    while (!end.signal.aborted) {
      try {
        const response = await fetched('GET', path, { signal: end.signal, headers: { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) } })
        if (response.status === 204) return
        state(true)
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
        for (let text = ''; ; ) {
          const { value, done } = await reader.read()
          if (done) break
          text += value
          for (let at; (at = text.indexOf('\n\n')) >= 0; text = text.slice(at + 2)) {
            const event = Object.fromEntries(text.slice(0, at).split('\n').filter((l) => !l.startsWith(':') && l).map((l) => l.split(/: (.*)/s)))
            if (event.id) last = event.id
            if (event.event) hear(event.event, JSON.parse(event.data))
          }
        }
      } catch (why) {
        if (end.signal.aborted) return
        if (why.status >= 400 && why.status < 500 && why.status !== 429) return hear('problem', why)
      }
      state(false)
      await pause(1000, end.signal)
    }
  }
  run()
  return () => end.abort()
}

/** What is looked at again and again, for as long as the part of the page that does is shown, and the tab is. */
class Look {
  value = $state.raw()
  error = $state.raw(null)
  #asked = 0

  constructor(look, every) {
    this.look = look
    $effect(() => {
      let ended = false
      let timer
      const run = async () => {
        if (!document.hidden) await this.now()
        if (!ended) timer = setTimeout(run, every)
      }
      run()
      return () => {
        ended = true
        clearTimeout(timer)
      }
    })
  }

  /** Look at once. */
  async now() {
    const asked = ++this.#asked
    try {
      const value = await this.look()
      if (asked === this.#asked) [this.value, this.error] = [value, null]
    } catch (why) {
      if (asked === this.#asked) this.error = why
    }
  }
}

/** Looks again every so many milliseconds. What look reads before its first await starts it anew when it changes. */
export const poll = (look, every) => new Look(look, every)

export const session = new Session()

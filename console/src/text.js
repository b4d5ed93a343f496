// How things are said.

const language = navigator.language || 'en'
const numbers = new Intl.NumberFormat(language)
const currencies = new Map()

/** An amount of minor units. */
export function money(minor, currency) {
  if (!currency) return numbers.format(minor ?? 0)
  if (!currencies.has(currency)) currencies.set(currency, new Intl.NumberFormat(language, { style: 'currency', currency }))
  return currencies.get(currency).format(minor / 10 ** digits(currency))
}

/** How many digits the minor units of a currency have. */
export function digits(currency) {
  try {
    return new Intl.NumberFormat(language, { style: 'currency', currency }).resolvedOptions().maximumFractionDigits
  } catch {
    return 2 // no currency yet
  }
}

/** Minor units of what somebody typed, such as 12.50; NaN if that is no amount. */
export function minor(typed, currency) {
  const n = digits(currency)
  const text = String(typed).trim().replace(',', '.')
  if (!/^\d{1,12}(\.\d+)?$/.test(text) || (text.split('.')[1] || '').length > n) return NaN
  return Math.round(Number(text) * 10 ** n)
}

export const count = (n) => numbers.format(n ?? 0)

const times = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false })
const days = new Intl.DateTimeFormat(language, { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit', hour12: false })

/** A time of day; with the day if it is another one. */
export function when(millis) {
  if (!millis) return '–'
  const at = new Date(millis)
  return at.toDateString() === new Date().toDateString() ? times.format(at) : days.format(at)
}

/** How long, in the largest unit that says it. */
export function span(millis) {
  if (!(millis > 0)) return '0 s'
  for (const [unit, of] of [['d', 864e5], ['h', 36e5], ['min', 6e4], ['s', 1e3]]) if (millis >= of) return `${Math.floor(millis / of)} ${unit}`
  return `${Math.round(millis)} ms`
}

/** One thing, or many. */
export const some = (n, one, many = one + 's') => `${count(n)} ${n === 1 ? one : many}`

/** What an order is of. */
export function items(list, currency) {
  return (list || [])
    .map((i) => {
      const seats = i.seats?.length ? ` (${i.seats.join(', ')})` : ''
      const allocation = i.allocation && i.allocation !== 'public' ? ` of ${i.allocation}` : ''
      return `${count(i.quantity)} × ${i.section}${allocation}${seats} at ${money(i.unit_price, currency)}`
    })
    .join('; ')
}

/** A section, and the allocation if it is not for everybody. */
export const pool = (s) => (s.allocation && s.allocation !== 'public' ? `${s.section} · ${s.allocation}` : s.section)

/** Whether places of an event can be bought, in a word or two. */
export function standing(event, now = Date.now()) {
  if (event.cancelled) return 'called off'
  if (event.closed) return 'closed'
  if (event.off_sale && now >= event.off_sale) return 'ended'
  if (now < (event.on_sale || 0)) return 'not yet'
  return event.available === 0 ? 'sold out' : 'on sale'
}

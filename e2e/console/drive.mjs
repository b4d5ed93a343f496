// What people do with the console, and with what customers see. Fails with the first thing that is not so.
// CHROMIUM: the browser. API, CONSOLE, GATEWAY: where they are. PEOPLE: an API where people sign in. HARM: what makes the books of the event talk wrong, when it is asked to. KEYS: of some roles, and where an endpoint of webhooks is. The argument: where pictures are to be put.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { AxeBuilder } from '@axe-core/playwright'
import { chromium } from 'playwright-core'

const { CHROMIUM, API, CONSOLE, GATEWAY } = process.env
const keys = JSON.parse(process.env.KEYS)
const pictures = process.argv[2]
const began = Date.now()
const say = (what) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${what}`)

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
const context = await browser.newContext({ viewport: { width: 1360, height: 850 }, locale: 'en-GB', timezoneId: 'UTC', acceptDownloads: true })
context.setDefaultTimeout(15_000)
let expected = 0 // errors in the browser's console: each answer of 4xx is one
let removed = '' // looks at what is here may have been under way when it was removed

/** A tab, in which nothing may go wrong unseen. */
async function tab() {
  const page = await context.newPage()
  page.on('pageerror', (why) => assert.fail(`the page fails: ${why.stack}`))
  page.on('console', (said) => {
    if (!['error', 'warning'].includes(said.type())) return
    const { url } = said.location()
    if (said.text().startsWith('Failed to load resource') && (removed && url.startsWith(removed) || expected-- > 0)) return
    assert.fail(`the browser says: ${said.text()} (${url})`)
  })
  page.streams = new Set()
  page.on('request', (r) => r.url().endsWith('/updates') && page.streams.add(r))
  for (const end of ['requestfailed', 'requestfinished']) page.on(end, (r) => page.streams.delete(r))
  return page
}

const eventually = async (what, condition) => {
  for (const until = Date.now() + 15_000; ; await new Promise((go) => setTimeout(go, 50))) {
    if (await condition()) return
    if (Date.now() > until) assert.fail(`not within 15 s: ${what}`)
  }
}

/** Nothing is wrong with it for people who see, hear or move in other ways; nothing is wider than the window. */
async function good(page, name, themes = ['light', 'dark']) {
  for (const theme of themes) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' })
    const axe = new AxeBuilder({ page })
    if (theme === 'dark' && themes.length > 1) axe.withRules(['color-contrast', 'link-in-text-block']) // only colours are others
    else axe.withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'])
    const { violations } = await axe.analyze()
    const found = violations.map((v) => `${v.id}: ${v.help}\n${v.nodes.map((n) => '    ' + n.html + '\n    ' + n.failureSummary.replaceAll('\n', ' ')).join('\n')}`)
    assert.deepEqual(found, [], `${name}, ${theme}`)
    if (pictures) await page.screenshot({ path: `${pictures}/${name}-${theme}.png`, clip: await around(page) })
  }
  await page.emulateMedia({ colorScheme: 'light' })
  say(`${name}: nothing found`)
}

/** Of a page with a dialog, where that is, and a little more; else all of it. */
async function around(page) {
  const box = (await page.getByRole('dialog').count()) && (await page.getByRole('dialog').boundingBox())
  return box ? { x: box.x - 60, y: Math.max(0, box.y - 40), width: box.width + 120, height: Math.min(box.height + 80, page.viewportSize().height) } : undefined
}

async function fits(page, name, width, height) {
  await page.setViewportSize({ width, height })
  await eventually(`${name} fits ${width} px`, () => page.evaluate(() => document.scrollingElement.scrollWidth <= innerWidth))
}

const heading = (page, name) => page.getByRole('heading', { level: 1, name, exact: true }).waitFor()
const goTo = async (page, name) => {
  await page.getByRole('navigation').getByRole('link', { name, exact: true }).click()
  await eventually(`whoever goes to ${name} begins at its heading`, () => page.evaluate(() => document.activeElement.tagName === 'H1'))
}

/** Does what a dialog asks about, and returns what it says has happened. */
async function act(page, button, fields = {}) {
  const dialog = page.getByRole('dialog')
  for (const [name, value] of Object.entries(fields)) {
    const field = dialog.getByLabel(name, { exact: true })
    if ((await field.evaluate((f) => f.tagName)) === 'SELECT') await field.selectOption(value)
    else await field.fill(value)
  }
  await dialog.getByRole('button', { name: button, exact: true }).click()
  const said = await dialog.locator('[data-done]').textContent()
  await dialog.getByRole('button', { name: 'Close' }).click()
  return said
}

if (pictures) mkdirSync(pictures, { recursive: true })
const page = await tab()

// Who has no key sees nothing, and a wrong one is of no use.
await page.goto(API + '/')
await heading(page, 'Sign in')
await good(page, 'sign-in')
expected = 1
await page.getByLabel('API key').fill('hf_wrong_key')
await page.getByRole('button', { name: 'Sign in' }).click()
await page.getByText('This key is not valid.').waitFor()
await page.getByLabel('API key').fill(keys.admin)
await page.getByRole('button', { name: 'Sign in' }).click()
await page.getByText('● live').waitFor()
say('signed in by hand')
await page.getByRole('button', { name: 'Sign out' }).click()
await heading(page, 'Sign in')
assert.equal(await page.evaluate(() => sessionStorage.length), 0, 'a key is left in the tab')

// The URL that dev prints signs in, and the key is not left in the address bar.
await page.goto(CONSOLE)
await page.getByText('● live').waitFor()
assert.equal(page.url(), API + '/console/')
assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0)

// On sale: it lives, on one connection, whichever event one looks at.
const sold = async () => Number((await page.locator('dt:has-text("Tickets sold") + dd').textContent()).replaceAll(',', ''))
for (const event of ['Jazz Night', 'The Opera']) {
  await page.getByRole('link', { name: event }).click()
  await heading(page, event)
  await page.getByText('● live').waitFor()
  const before = await sold()
  await eventually(`${event} is sold`, async () => (await sold()) > before)
  await eventually('there is one stream', () => page.streams.size === 1)
}
await page.getByRole('img', { name: /^Seats of stalls: .* sold/ }).waitFor()
if (pictures) await new Promise((go) => setTimeout(go, 12_000)) // for a chart that is worth a look
await good(page, 'on-sale')
for (const colorScheme of pictures ? ['light', 'dark'] : []) {
  await page.emulateMedia({ colorScheme })
  await page.locator('section:has(#seats)').screenshot({ path: `${pictures}/seats-${colorScheme}.png` })
}
await page.emulateMedia({ colorScheme: 'light' })
await page.getByRole('button', { name: 'Make it dark' }).click()
assert.equal(await page.evaluate(() => getComputedStyle(document.body).colorScheme), 'dark')
await page.getByRole('button', { name: 'Make it light' }).click()
await page.evaluate(() => (localStorage.clear(), delete document.documentElement.dataset.theme))
await page.reload() // nothing has to be typed again
await page.getByText('● live').waitFor()

// Orders: buy, watch it confirm, cancel.
await goTo(page, 'Orders')
await page.getByRole('button', { name: 'Order for a customer…' }).click()
await good(page, 'order-dialog', pictures ? ['light', 'dark'] : ['light'])
const ordered = await act(page, 'Order', { What: 'jazz-night / general', 'How many': '2', Customer: 'fred', 'Payment token': 'tok_visa' })
const id = /console-[0-9a-z]+/.exec(ordered)[0]
const order = page.getByRole('article')
await order.getByText('Confirmed: the tickets are the customer’s').waitFor()
await order.getByText('€50.00').first().waitFor()
await order.getByRole('button', { name: 'Give money back…' }).click()
await good(page, 'refund-dialog', pictures ? ['light', 'dark'] : ['light'])
assert.equal(await act(page, 'Give it back', { 'How much, EUR': '10.00', 'Reason, for people': 'a pillar' }), '€10.00 is given back, €10.00 in all.')
await order.getByText('why a pillar').waitFor()
await order.getByRole('button', { name: 'Give money back…' }).click()
assert.match(await act(page, 'Give it back', { 'How much, EUR': '999' }), /^It was refused \(more than paid.*\): the order is what it was\.$/)
await order.getByRole('button', { name: 'Exchange places…' }).click()
assert.equal(await page.getByRole('dialog').getByLabel('Places', { exact: true }).inputValue(), 'general 2')
await good(page, 'exchange-dialog', pictures ? ['light', 'dark'] : ['light'])
await page.getByRole('dialog').getByLabel('Places', { exact: true }).fill('general 1')
assert.equal(await act(page, 'Exchange', { 'Reason, for people': 'fred’s friend is ill' }), 'The places are exchanged.')
await order.getByText('Places were exchanged').waitFor()
await order.getByText('why fred’s friend is ill').waitFor()
await order.getByText('1 × general at €25.00').first().waitFor()
assert.ok(!(await page.content()).includes('tok_visa'), 'a payment token is on the page')

// The customer's bank disputes the payment: what is about how much, and what to do, until it is decided.
const bank = async (dispute) => {
  const of = `${GATEWAY}/authorizations/holdfast/jazz-night/${id}/dispute`
  await eventually('the payment is captured, and disputed', async () => (await fetch(of, { method: 'POST', body: JSON.stringify(dispute) })).ok)
}
await bank({ state: 'open', amount: 4000, answer_until: Date.UTC(2040, 0, 2, 12) })
const told = await fetch(`${API}/v1/orders/jazz-night/${id}/payment-update`, { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json', Authorization: 'Bearer ' + keys.admin } })
assert.equal(told.status, 202)
await eventually('the page tells the dispute', async () => {
  await page.reload()
  await order.getByText('What has become of it').waitFor()
  return await order.getByRole('heading', { name: 'The payment is disputed' }).isVisible()
})
await order.getByText(/^The customer’s bank has taken €40.00 back until it is decided. Answer it at the payment gateway until 2 Jan 2040.* The order keeps its places: to take them back, cancel it.$/).waitFor()
await order.getByText('The customer’s bank disputes the payment').waitFor()
await good(page, 'dispute', pictures ? ['light', 'dark'] : ['light'])
await order.getByRole('button', { name: 'Cancel the order…' }).click()
await page.getByRole('dialog').getByText('The customer’s bank has €40.00 until the dispute is decided: only then is anything given back.').waitFor()
await page.getByRole('dialog').getByRole('button', { name: 'Back' }).click()
await bank({ state: 'won', amount: 4000 })
await order.getByRole('button', { name: 'Ask how it stands…' }).click()
assert.equal(await act(page, 'Ask'), 'The gateway is asked: what it says is here in a moment.')
await order.getByRole('heading', { name: 'The dispute was decided for you' }).waitFor()
await order.getByText('There is nothing to be done.').waitFor()
say('a dispute was heard of, and decided')

await order.getByRole('button', { name: 'Cancel the order…' }).click()
await page.getByRole('dialog').getByText('€25.00 is given back, unless it is kept.').waitFor()
assert.equal(await act(page, 'Cancel the order', { 'The money': 'is kept', 'Reason, for people': 'bought by mistake' }), 'It is cancelled.')
await order.getByText('why bought by mistake').waitFor()
await order.getByText('refund none').waitFor()
await order.getByText('asked for by dev').last().waitFor()
say('bought, confirmed, some money given back, exchanged, cancelled')
await order.getByRole('button', { name: 'Close' }).click()
await page.locator('[name=customer]').fill('fred')
await page.getByRole('button', { name: 'Find' }).click()
await page.getByRole('heading', { name: 'Found' }).waitFor()
await eventually('the order of fred alone is found', async () => (await page.locator('tbody tr').count()) === 1)
await page.getByRole('link', { name: id }).waitFor()
await page.locator('[name=order]').fill(id)
await page.getByRole('button', { name: 'Find' }).click()
await page.getByRole('link', { name: id }).click()
await order.getByText('bought by mistake').waitFor()
await good(page, 'orders')
await page.locator('[name=order]').fill('')
await page.locator('[name=customer]').fill('')
await page.locator('[name=event]').selectOption('opera')
await page.locator('[name=state]').selectOption('declined')
await page.getByRole('button', { name: 'Find' }).click()
await eventually('declined orders of the opera are found', async () => {
  const rows = await page.locator('tbody tr').allTextContents()
  return rows.length > 0 && rows.every((r) => r.includes('opera') && r.includes('declined'))
})
say('found by customer, name, event and state')

// Queues.
await goTo(page, 'Queues')
await page.getByRole('row', { name: /worker-1 works/ }).waitFor()
await page.getByRole('heading', { name: 'What will be wrong later' }).waitFor()
await page.getByRole('button', { name: 'Pause…' }).click()
assert.equal(await act(page, 'Pause', { What: 'open-air', 'Reason, for people': 'wrong prices' }), 'It is paused: open-air.')
await page.getByText('wrong prices, by dev').waitFor()
await good(page, 'queues')
await page.getByRole('button', { name: 'Resume…' }).click()
assert.equal(await act(page, 'Resume', { 'Reason, for people': 'the prices are right' }), 'It goes on: open-air.')
await page.getByText('wrong prices, by dev').waitFor({ state: 'detached' })
say('paused, resumed')

// Dead letters: one is rerouted and sells, one is redriven and comes back, and is discarded.
await goTo(page, 'Dead letters')
const row = (text) => page.getByRole('region', { name: 'The letters, the oldest first' }).getByRole('row').filter({ hasText: text })
await row('jazz-night/astray').waitFor()
await row('jazz-night/twice').getByRole('link').first().click()
await page.getByRole('article').getByText('[redacted]').waitFor()
await good(page, 'dead-letters')
await row('jazz-night/astray').getByRole('checkbox').check()
await page.getByRole('button', { name: 'Reroute…' }).first().click()
await page.getByRole('dialog').getByText('Of each: it tries to get its places, and charges the customer.').waitFor()
await good(page, 'dead-letter-dialog', pictures ? ['light', 'dark'] : ['dark'])
assert.equal(await act(page, 'Reroute', { 'Reason, for people': 'partitions are computed rightly now' }), '1 dead letter is rerouted.')
await eventually('it is gone', async () => (await row('jazz-night/astray').count()) === 0)
const letter = await row('jazz-night/twice').getByRole('link').first().textContent()
await row('jazz-night/twice').getByRole('checkbox').check()
await page.getByRole('button', { name: 'Redrive…' }).first().click()
assert.equal(await act(page, 'Redrive'), '1 dead letter is redriven.')
await eventually('it is back, as another one', async () => {
  const now = await row('jazz-night/twice').getByRole('link').first().textContent()
  return now !== letter
})
await page.getByLabel('Reason contains').fill('no such reason')
await page.getByText('None has such a reason.').waitFor()
await page.getByLabel('Reason contains').fill('')
await row('jazz-night/twice').getByRole('checkbox').check()
await page.getByRole('button', { name: 'Discard…' }).first().click()
await page.getByRole('dialog').getByText('It cannot be undone.').waitFor()
assert.equal(await act(page, 'Discard'), '1 dead letter is discarded.')
await page.getByText('There is none: every entry was handled.').waitFor()
const handled = (text) => page.getByRole('region', { name: 'Handled of late' }).getByRole('row').filter({ hasText: text })
await handled('jazz-night/astray').filter({ hasText: 'rerouted' }).filter({ hasText: 'dev' }).filter({ hasText: 'partitions are computed rightly now' }).waitFor()
await handled('jazz-night/twice').filter({ hasText: 'discarded' }).waitFor()
await page.goto(API + '/console/#/orders/jazz-night/astray')
await order.getByText('Confirmed: the tickets are the customer’s').waitFor()
say('rerouted, redriven, discarded')

// Events: create, adjust, close, reopen, call off.
await goTo(page, 'Events')
await page.getByRole('button', { name: 'Create an event…' }).click()
const wrong = { 'Event id': 'talk', Currency: 'EUR', Name: 'The Talk', Sections: 'hall ten 12.50' }
for (const [name, value] of Object.entries(wrong)) await page.getByRole('dialog').getByLabel(name, { exact: true }).fill(value)
expected = 1
await page.getByRole('dialog').getByRole('button', { name: 'Create' }).click()
await page.getByRole('dialog').getByRole('alert').waitFor()
await page.getByRole('dialog').getByLabel('Sections').fill('hall 10 12.50\nboxes A:1-4,B 20')
assert.equal(await act(page, 'Try again'), 'talk is created.')
const talk = page.getByRole('listitem').filter({ has: page.getByRole('heading', { name: 'The Talk' }) })
await talk.getByText('seated').waitFor()
const api = async (method, path, body, key = keys.admin) => {
  const answer = await fetch(API + path, { method, headers: { Authorization: 'Bearer ' + key, 'Content-Type': 'application/json', Prefer: 'wait=15' }, body: body && JSON.stringify(body) })
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`)
  return answer.json()
}
const bought = await api('POST', '/v1/orders', { event_id: 'talk', order_id: 't1', customer_id: 'amy', section: 'hall', quantity: 10, payment_token: 'tok_visa' })
assert.equal(bought.state, 'confirmed')
await talk.getByRole('button', { name: 'Adjust…' }).click()
assert.equal(await act(page, 'Adjust', { 'Price of hall, EUR': '15', 'Places of hall': '20' }), 'talk is adjusted.')
await talk.getByText('€15.00').waitFor()
await talk.getByRole('button', { name: 'Close the sale…' }).click()
assert.equal(await act(page, 'Close', { 'Reason, for people': 'the roof leaks' }), 'The sale is closed.')
await talk.getByText('closed').waitFor()
await talk.getByRole('button', { name: 'Reopen…' }).click()
assert.equal(await act(page, 'Reopen'), 'The sale goes on.')
await talk.getByText('on sale').waitFor()
await good(page, 'events')
await talk.getByRole('button', { name: 'Call off…' }).click()
const dialog = page.getByRole('dialog')
await dialog.getByText('1 order that is confirmed, with 10 tickets, is cancelled, and €125.00 given back.').waitFor()
assert.ok(await dialog.getByRole('button', { name: 'Call it off' }).isDisabled(), 'its name is not typed yet')
await good(page, 'call-off-dialog', pictures ? ['light', 'dark'] : ['light'])
assert.match(await act(page, 'Call it off', { 'Reason, for people': 'the speaker is ill', 'Type talk to go on': 'talk' }), /^The Talk is called off\. 1 order/)
await talk.getByText('called off').waitFor()
assert.equal((await api('GET', '/v1/orders/talk/t1')).state, 'cancelled')
say('created, adjusted, closed, reopened, called off')

// Books, and the file.
await goTo(page, 'Books')
await page.getByRole('row', { name: /The Opera/ }).waitFor()
await page.locator('[name=event]').selectOption('opera')
await page.getByRole('img', { name: /^Tickets of The Opera by minute: [1-9]\d* sold, / }).waitFor()
await page.locator('[name=step]').selectOption('1h')
await page.getByRole('img', { name: /^Tickets of The Opera by hour: [1-9]\d* sold, / }).waitFor()
await page.locator('[name=step]').selectOption('1m')
await page.getByRole('img', { name: /^Tickets of The Opera by minute: / }).waitFor()
await good(page, 'books')
const download = page.waitForEvent('download')
await page.getByRole('button', { name: 'Save as CSV' }).click()
const csv = readFileSync(await (await download).path(), 'utf8')
assert.match(csv, /^event_id,/)
assert.match(csv, /\nopera,/)
await page.getByText('Saved as sales-').waitFor()

// Audit: run it; read what it finds of a stored figure that somebody changed.
await goTo(page, 'Audit')
await page.getByText('There was none yet.').waitFor()
await page.getByRole('button', { name: 'Run an audit' }).click()
await page.getByRole('heading', { name: 'No violation' }).waitFor()
await page.getByRole('row', { name: /The books .* 0 –/ }).waitFor()
await page.getByRole('row', { name: /The payments/ }).waitFor()
assert.deepEqual((await api('GET', '/v1/audit')).items.map((a) => [a.of, a.violations]), [['books', 0], ['payments', 0]])
await good(page, 'audit')
assert.ok((await fetch(process.env.HARM, { method: 'POST' })).ok)
await page.getByRole('button', { name: 'Run an audit' }).click()
await page.getByRole('heading', { name: /^[1-9]\d* violations?$/ }).waitFor()
await page.getByRole('region', { name: 'What is not as it must be' }).getByRole('row').filter({ hasText: 'talk' }).first().waitFor()
await good(page, 'audit-violations')
say('audited')

// Keys and webhooks: a key is shown once, works, and is revoked; an endpoint is tested, disabled, enabled, sent once more what it was sent, and removed.
await goTo(page, 'Keys and webhooks')
const keyRow = (name) => page.getByRole('group', { name: 'Keys' }).getByRole('row').filter({ has: page.getByRole('rowheader', { name }) })
await keyRow('dev (you)').waitFor()
await page.getByRole('button', { name: 'Create a key…' }).click()
await page.getByRole('dialog').getByLabel('Whose it is', { exact: true }).fill('eve')
await page.getByRole('dialog').getByLabel('Role', { exact: true }).selectOption('sales')
await good(page, 'key-dialog', pictures ? ['light', 'dark'] : ['light'])
await page.getByRole('dialog').getByRole('button', { name: 'Create', exact: true }).click()
const made = await page.getByRole('dialog').locator('[data-secret]').textContent()
assert.match(made, /^hf_/)
assert.equal((await api('GET', '/v1/self', undefined, made)).name, 'eve')
await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click()
await keyRow('eve').waitFor()
assert.ok(!(await page.content()).includes(made), 'the key is still on the page')
await keyRow('eve').getByRole('button', { name: /^Revoke/ }).click()
await good(page, 'revoke-dialog', pictures ? ['light', 'dark'] : ['light'])
assert.equal(await act(page, 'Revoke'), 'The key of eve is revoked.')
await eventually('it is gone', async () => (await keyRow('eve').count()) === 0)
await eventually('nobody gets in with it', async () => (await fetch(API + '/v1/self', { headers: { Authorization: 'Bearer ' + made } })).status === 401)
const hooked = page.getByRole('article')
await page.getByRole('link', { name: keys.hook }).click()
await hooked.getByRole('cell', { name: /^HTTP 204/ }).first().waitFor()
await good(page, 'keys')
await hooked.getByRole('button', { name: 'Test…' }).click()
assert.match(await act(page, 'Send it'), /^It took the message: HTTP status 204/)
await hooked.getByRole('button', { name: 'Disable…' }).click()
assert.equal(await act(page, 'Disable'), 'It is disabled.')
await hooked.getByRole('button', { name: 'Enable…' }).click()
assert.equal(await act(page, 'Enable'), 'It is enabled.')
await hooked.getByRole('button', { name: 'Replay…' }).click()
assert.match(await act(page, 'Send once more'), /^It will be sent what happened from/)
await hooked.getByRole('button', { name: 'Rotate the secret…' }).click()
await page.getByRole('dialog').getByRole('button', { name: 'Give it another one' }).click()
assert.match(await page.getByRole('dialog').locator('[data-secret]').textContent(), /^whsec_/)
await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click()
await page.getByRole('button', { name: 'Add a webhook…' }).click()
await page.getByRole('dialog').getByLabel('Where to', { exact: true }).fill('http://hooks.invalid/')
expected = 1
await page.getByRole('dialog').getByRole('button', { name: 'Add', exact: true }).click()
await page.getByRole('dialog').getByRole('alert').getByText('want https').waitFor()
await page.getByRole('dialog').getByLabel('Where to', { exact: true }).fill('https://hooks.invalid/')
await page.getByRole('dialog').getByLabel('order.held').check()
await good(page, 'webhook-dialog', pictures ? ['light', 'dark'] : ['light'])
await page.getByRole('dialog').getByRole('button', { name: 'Try again' }).click()
const hookSecret = await page.getByRole('dialog').locator('[data-secret]').textContent()
await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click()
assert.ok(!(await page.content()).includes(hookSecret), 'the secret is still on the page')
await page.getByRole('link', { name: 'https://hooks.invalid/' }).click()
await hooked.getByText('order.confirmed, order.cancelled, order.held').waitFor()
await hooked.getByRole('button', { name: 'Test…' }).click()
assert.match(await act(page, 'Send it'), /^It did not take the message/)
await hooked.getByRole('button', { name: 'Remove…' }).click()
removed = `${API}/v1/webhooks/${decodeURIComponent(page.url().split('/').at(-1))}`
assert.equal(await act(page, 'Remove'), 'It is removed.')
await eventually('it is not listed any more', async () => (await page.getByRole('link', { name: 'https://hooks.invalid/' }).count()) === 0)
say('keys and webhooks made, used and ended')

// From a phone to a wall screen.
for (const [name, heads] of [['On sale', /./], ['Orders', 'Orders'], ['Queues', 'Queues'], ['Dead letters', 'Dead letters'], ['Events', 'Events'], ['Books', 'Books'], ['Audit', 'Audit'], ['Keys and webhooks', 'Keys and webhooks']]) {
  await page.setViewportSize({ width: 390, height: 844 })
  await goTo(page, name)
  await page.getByRole('heading', { level: 1, name: heads }).waitFor()
  await fits(page, name, 320, 700)
  await fits(page, name, 2560, 1440)
  await fits(page, name, 390, 844)
}
await goTo(page, 'On sale')
await page.getByText('● live').waitFor()
await page.locator('.u-over').waitFor()
await good(page, 'on-sale-phone')
await page.setViewportSize({ width: 1360, height: 850 })
say('it fits 320 to 2560 pixels')

// A key shows what its role may do.
await page.getByRole('button', { name: 'Sign out' }).click()
await page.getByLabel('API key').fill(keys.sales)
await page.getByRole('button', { name: 'Sign in' }).click()
await page.getByText('● live').waitFor()
assert.deepEqual(await page.getByRole('navigation').getByRole('link').allTextContents(), ['On sale', 'Books'])
await page.getByText('ana · sales').waitFor()
await page.close()

// People sign in where they always do, and come back to the page that they wanted; what was begun elsewhere is not taken.
const { PEOPLE } = process.env
const person = await tab()
await person.goto(PEOPLE + '/console/#/audit')
await person.getByRole('button', { name: 'Sign in with your account' }).waitFor()
await good(person, 'sign-in-account')
await person.getByRole('button', { name: 'Sign in with your account' }).click()
await heading(person, 'Audit')
await person.getByText('ann@shop.example · sre').waitFor()
assert.equal(person.url(), PEOPLE + '/console/#/audit')
await person.reload()
await heading(person, 'Audit')
await person.getByRole('button', { name: 'Sign out' }).click()
await heading(person, 'Sign in')
await person.goto(PEOPLE + '/console/?code=stolen&state=other')
await person.getByText('That was not begun in this tab').waitFor()
await person.close()
say('a person has signed in')

// What a customer sees, with the token that the checkout makes.
await api('POST', '/v1/events', { event_id: 'gala', currency: 'EUR', name: 'The Gala', sections: [{ section: 'stalls', rows: 'A:1-12', price: 4500 }, { section: 'general', capacity: 50, price: 2500 }] }) // which nobody else buys
await api('POST', '/v1/orders', { event_id: 'gala', order_id: 'f1', customer_id: 'fred', section: 'stalls', quantity: 2, payment_token: 'tok_visa' }, keys.checkout)
await api('POST', '/v1/orders', { type: 'hold', event_id: 'gala', order_id: 'f2', customer_id: 'fred', quantity: 3 }, keys.checkout)
const { token } = await api('POST', '/v1/customers/fred/tokens', null, keys.checkout)
const my = await tab()
await my.setViewportSize({ width: 390, height: 844 })
await my.goto(API + '/my')
await my.getByText('Open this page with the link').waitFor()
await my.goto('about:blank')
await my.goto(`${API}/my#token=${token}&event=gala&order=f2`)
await my.getByText('These places are held for you.').waitFor()
assert.ok(!my.url().includes(token), 'the token is left in the address bar')
await my.getByText('2 × stalls').waitFor()
await good(my, 'my')
await api('POST', '/v1/orders/gala/f2/pay', { payment_token: 'tok_visa' }, keys.checkout)
await my.getByText('The tickets are yours.').waitFor()
await my.getByText('3 × general').nth(1).waitFor()
say('a customer has watched a hold become tickets')

// Where the checkout lets them, customers give up what is held for them.
assert.equal(await my.getByRole('button', { name: 'Give it up…' }).count(), 0)
await api('POST', '/v1/orders', { type: 'hold', event_id: 'gala', order_id: 'f3', customer_id: 'fred', quantity: 2 }, keys.checkout)
const cancels = (await api('POST', '/v1/customers/fred/tokens?cancel=true', null, keys.checkout)).token
await my.goto('about:blank')
await my.goto(`${API}/my#token=${cancels}&event=gala&order=f3`)
await my.getByRole('button', { name: 'Give it up…' }).click()
await good(my, 'my-dialog', pictures ? ['light', 'dark'] : ['light'])
assert.equal(await act(my, 'Give it up'), 'It is given up.')
await my.getByText('This order is cancelled.').waitFor()
assert.ok((await api('GET', '/v1/orders/gala/f3/history')).items[0].history.some((f) => f.by === 'customer fred'), 'who gave it up')
say('a customer has given a hold up')

await browser.close()
say('done')

// A shop: what is on sale, an order, what becomes of it as it happens, and what the customer has.
//
//	node dist/example/shop.js CUSTOMER EVENT QUANTITY CART
//
// HOLDFAST_API is where the API is, HOLDFAST_KEY a checkout's key. The number of the cart makes it safe to run the same again: it is one order.
import { setTimeout as pause } from 'node:timers/promises';

import { client } from '../src/client.gen.js';
import { events, order, orderUpdates, purchases, type Order } from '../src/index.js';

const [customer, event, quantity, cart] = process.argv.slice(2);
const { HOLDFAST_API: baseUrl, HOLDFAST_KEY: key } = process.env;
if (!customer || !event || !Number(quantity) || !cart || !baseUrl || !key) {
  throw new Error('want CUSTOMER EVENT QUANTITY CART, HOLDFAST_API and HOLDFAST_KEY');
}
client.setConfig({ baseUrl, auth: key });

// Amounts are integers, of the currency's smallest unit.
function money(amount: number, currency: string): string {
  const format = new Intl.NumberFormat('en', { style: 'currency', currency });
  return format.format(amount / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}

// buy sends the order until its outcome is known, or is refused for good. A 202, an overload or no answer at all say nothing
// about the order, so the same is sent again, under the same key.
async function buy(customer_id: string, event_id: string, quantity: number, cart: string): Promise<Order> {
  for (let tries = 0; tries < 12; tries++) {
    const { data, error, response } = await order({
      headers: { 'Idempotency-Key': cart, Prefer: 'wait=5' },
      body: { event_id, customer_id, quantity, payment_token: 'tok_visa' },
    });
    if (data && response?.status === 200) return data;
    if (response && response.status >= 400 && response.status < 500 && response.status !== 429) {
      throw new Error('not ordered', { cause: error });
    }
    if (!data) await pause(1000); // with a 202 the API has waited already
  }
  throw new Error(`what became of cart ${cart} is not known yet: run the same again`);
}

const { data: onSale } = await events({ throwOnError: true });
for (const e of onSale.events) {
  console.log(`${e.event_id}: ${e.name}, ${e.available} left`);
  for (const s of e.sections) console.log(`  ${s.section}: ${s.available} at ${money(s.price, e.currency)}`);
}

const bought = await buy(customer, event, Number(quantity), cart);
console.log(`cart ${cart}: ${bought.state} ${bought.reason ?? money(bought.amount, bought.currency ?? 'EUR')}`);

// What becomes of an order can be heard, too: each event is an Order, or a Problem, until there is an outcome. This one has it already.
const { stream } = await orderUpdates({ path: { event, id: bought.order_id }, sseMaxRetryAttempts: 3 });
for await (const heard of stream) {
  if (heard) console.log('state' in heard ? `heard: ${heard.state}` : `not heard: ${heard.detail}`);
}

const { data: had } = await purchases({ path: { customer }, throwOnError: true });
for (const p of had.purchases) console.log(`${customer} has ${p.event_id}/${p.order_id}: ${p.status}, ${money(p.amount, p.currency)}`);

// Package stripe holds what the adapter for Stripe asks, and what the fake of Stripe answers, to Stripe's own OpenAPI, which its
// stripe-mock has in it. stripe-mock runs in process, on a loopback address.
package stripe

// Package network has only tests: the network between workers and Redis, between
// workers and the payment gateway, and between a checkout and Redis misbehaves,
// in every way that toxiproxy knows. It is a module of its own, so that toxiproxy
// does not become a dependency of holdfast.
package network

package domain

import (
	"fmt"
	"slices"
)

// APIRole is what the holder of an API key may do over HTTP.
type APIRole string

// The roles. What each may do is said endpoint by endpoint in package api.
const (
	APICheckout     APIRole = "checkout"
	APICustomerView APIRole = "customer-view"
	APISales        APIRole = "sales"
	APIOrganiser    APIRole = "organiser"
	APISRE          APIRole = "sre"
	APIAdmin        APIRole = "admin"
)

// APIRoles lists every role that a key can have.
var APIRoles = []APIRole{APICheckout, APICustomerView, APISales, APIOrganiser, APISRE, APIAdmin}

// MaxAPIKeys is how many API keys a namespace has at most, and MaxKeyEvents to how many events one can be bound.
const (
	MaxAPIKeys   = 1000
	MaxKeyEvents = 100
)

// APIKey is what is kept of an API key: never the key itself.
type APIKey struct {
	ID   string
	Hash string // hex SHA-256 of the whole key
	Role APIRole
	// Name is whose it is: of a checkout the name that goes into the order ids that are made of its Idempotency-Keys, so another key of
	// the same name finds the same orders.
	Name          string
	Events        []string // those that it is for; none: all
	CreatedMillis int64
	By            string // who asked for it, for people
	UsedMillis    int64  // when it was used last, to a minute or so; 0: never
}

// Validate returns the first thing that is wrong, of ClassReject.
func (k APIKey) Validate() error { return WithCode(ClassReject, CodeInvalid, k.validate()) }

func (k APIKey) validate() error {
	if !slices.Contains(APIRoles, k.Role) {
		return fmt.Errorf("role: want one of %v", APIRoles)
	}
	if err := CheckID("name", k.Name); err != nil {
		return err
	}
	if len(k.Events) > MaxKeyEvents {
		return fmt.Errorf("events: want at most %d", MaxKeyEvents)
	}
	for _, id := range k.Events {
		if err := CheckID("event", id); err != nil {
			return err
		}
	}
	return Cause{By: k.By}.Validate()
}

// MayEvent reports whether the key is for an event.
func (k APIKey) MayEvent(eventID string) bool {
	return len(k.Events) == 0 || slices.Contains(k.Events, eventID)
}

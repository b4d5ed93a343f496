package main

import (
	"reflect"
	"strings"
	"testing"

	"holdfast/domain/wire"
)

// FuzzRequestLine reads a line of holdfast publish. What is read means the same
// in the stream, and no error repeats a value.
func FuzzRequestLine(f *testing.F) {
	const secret = "tok-visa-4242-4242"
	for _, line := range []string{
		"", "{}", "null", "[]", `{"type":"purchase","event_id":"e1","customer_id":"fred","quantity":2,"payment_token":"` + secret + `"}`,
		`{"type":"hold","event_id":"e1","order_id":"o1","customer_id":"fred","quantity":"2"}`, `{"type":"pay","event_id":"e1","order_id":"o1","payment_token":null}`,
		`{"type":"cancel","event_id":"e1","order_id":"o1"}{}`, `{"type":"cancel","type":"hold"}`, `{"type":1e3}`, `{"type":{}}`, `{"color":"red"}`,
		`{"payment_token":"` + secret + `","type":"pay","event_id":"` + secret + ` ","order_id":"o1"}`, `{"payment_token":"` + secret,
		`{"type":"hold","event_id":"e","order_id":"o","customer_id":"c","seats":["A-2","A-1"]}`, `{"type":"hold","event_id":"e","order_id":"o","customer_id":"c","seats":"A-2,A-1"}`,
		`{"type":"hold","event_id":"e","order_id":"o","customer_id":"c","quantity":2,"adjacent":false}`, `{"seats":["A-1,A-2"]}`, `{"seats":["` + secret + `"]}`, `{"seats":[["A-1"]]}`, `{"seats":["A-1"`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		req, err := parseRequestLine(line)
		// The name of a field is no secret, and its error shows it.
		if err != nil && strings.Contains(err.Error(), secret) && !strings.HasPrefix(err.Error(), "unknown field ") {
			t.Errorf("the error repeats a value: %v", err)
		}
		if err != nil {
			return
		}
		again, err := wire.ParseRequest(wire.Fields(req))
		if err != nil || !reflect.DeepEqual(again, req) {
			t.Errorf("what was read:   %#v\ncomes back as: %#v, %v", req, again, err)
		}
	})
}

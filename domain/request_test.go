package domain

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestRequestTypes(t *testing.T) {
	for kind, want := range map[RequestType][2]bool{ // opens, pays
		RequestPurchase: {true, true}, RequestHold: {true, false}, RequestPay: {false, true}, RequestCancel: {false, false}, "": {false, false},
	} {
		if got := [2]bool{kind.Opens(), kind.Pays()}; got != want {
			t.Errorf("%q: opens, pays: %v, want %v", kind, got, want)
		}
	}
}

func TestSecretNeverPrints(t *testing.T) {
	const value = "tok-visa-4242"
	req := Request{Type: RequestPurchase, EventID: "evt_5", OrderID: "ord-77", PaymentToken: value}
	payment := PaymentRequest{Attempt: Attempt{Name: PaymentName{OrderRef: testRef}, Amount: 1}, Token: value}
	things := map[string]any{
		"secret": Secret(value), "pointer": ptr(Secret(value)), "request": req, "request pointer": &req,
		"slice": []Secret{value}, "map": map[string]Secret{"a": value},
		"payment request": payment, "incoming": Incoming{Request: req}, "command": Hold{Request: req},
		"interface": struct{ X any }{Secret(value)},
	}
	for name, thing := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%-20v", "%.3s", "%T"} {
			out := fmt.Sprintf(verb, thing)
			if strings.Contains(out, value) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", value)) || strings.Contains(out, "tok") && verb != "%T" && !strings.Contains(out, "Token") {
				t.Errorf("%s with %s shows the secret: %s", name, verb, out)
			}
		}
		out := fmt.Sprint(thing) + fmt.Sprintln(thing) + fmt.Errorf("an error about %v", thing).Error()
		if strings.Contains(out, value) {
			t.Errorf("%s: printing it shows the secret: %s", name, out)
		}
		encoded, err := json.Marshal(thing)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(string(encoded), value) {
			t.Errorf("%s: its JSON shows the secret: %s", name, encoded)
		}
	}
	if got := fmt.Sprintf("%v|%+v|%#v|%s|%d", Secret(value), Secret(value), Secret(value), Secret(value), Secret(value)); got != `[redacted]|[redacted]|[redacted]|[redacted]|[redacted]` {
		t.Errorf("got %s", got)
	}
	// It is still the value for whoever must have it.
	var back struct{ Token Secret }
	if err := json.Unmarshal([]byte(`{"Token":"`+value+`"}`), &back); err != nil || string(back.Token) != value {
		t.Errorf("read from JSON: %q, %v", string(back.Token), err)
	}
}

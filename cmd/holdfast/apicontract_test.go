package main

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"holdfast/api"
)

// document is openapi.json, as any program would read it.
var document = sync.OnceValue(func() object {
	var d object
	if err := json.Unmarshal(api.Document, &d); err != nil {
		panic(err)
	}
	return d
})

// asDocumented fails the test if an answer is not what the document says of that endpoint. What no endpoint is for has none.
func asDocumented(t testing.TB, method, target string, status int, contentType string, body any) {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	for template, item := range document()["paths"].(object) {
		pattern := "^" + regexp.MustCompile(`\\\{[a-z_]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), "[^/]+") + "$"
		op, there := item.(object)[strings.ToLower(method)].(object)
		if !there || !regexp.MustCompile(pattern).MatchString(path) {
			continue
		}
		responses := op["responses"].(object)
		response, said := responses[strconv.Itoa(status)].(object)
		if !said {
			if status < 400 {
				t.Errorf("%s %s: nobody has said that it answers %d", method, template, status)
				return
			}
			response = responses["default"].(object)
		}
		media, _, _ := strings.Cut(contentType, ";")
		content, said := response["content"].(object)[media].(object)
		if !said {
			t.Errorf("%s %s: %d: nobody has said that it answers in %s", method, template, status, media)
			return
		}
		for _, fault := range unlike(content["schema"].(object), body, "body") {
			t.Errorf("%s %s: %d: %s", method, template, status, fault)
		}
		return
	}
}

// unlike is how a value differs from a schema, of those that the document uses.
func unlike(schema object, value any, at string) (faults []string) {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		return unlike(document()["components"].(object)["schemas"].(object)[name].(object), value, at)
	}
	fault := func(format string, args ...any) { faults = append(faults, at+": "+fmt.Sprintf(format, args...)) }
	if options, ok := schema["enum"].([]any); ok && !slices.Contains(options, value) {
		fault("%v is none of %v", value, options)
	}
	types := []any{schema["type"]}
	if several, ok := schema["type"].([]any); ok {
		types = several
	}
	var kind any
	switch v := value.(type) {
	case nil:
		kind = "null"
	case string:
		kind = "string"
	case bool:
		kind = "boolean"
	case float64:
		if kind = "number"; v == math.Trunc(v) && slices.Contains(types, any("integer")) {
			kind = "integer"
		}
	case []any:
		kind = "array"
		items, _ := schema["items"].(object)
		for i, item := range v {
			faults = append(faults, unlike(items, item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case object:
		kind = "object"
		properties, _ := schema["properties"].(object)
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, there := v[name.(string)]; !there {
				fault("%s is missing", name)
			}
		}
		for name, inner := range v {
			if of, ok := properties[name].(object); ok {
				faults = append(faults, unlike(of, inner, at+"."+name)...)
			} else if schema["additionalProperties"] == false {
				fault("%s: nobody has said that there is such a thing", name)
			}
		}
	}
	if schema["type"] != nil && !slices.Contains(types, kind) {
		fault("it is of type %v, want %v", kind, types)
	}
	return faults
}

// What the check is for, it finds.
func TestAsDocumented(t *testing.T) {
	order := document()["components"].(object)["schemas"].(object)["Order"].(object)
	good := object{"event_id": "e", "order_id": "o", "state": "held", "amount": 1.0}
	if faults := unlike(order, good, "body"); len(faults) > 0 {
		t.Errorf("good: %v", faults)
	}
	for name, value := range map[string]any{"state": "lost", "amount": 1.5, "event_id": nil, "more": 1.0, "items": "x", "place": object{}} {
		bad := object{}
		for k, v := range good {
			bad[k] = v
		}
		bad[name] = value
		if faults := unlike(order, bad, "body"); len(faults) != 1 || !strings.Contains(faults[0], "body") {
			t.Errorf("%s %v: %v", name, value, faults)
		}
	}
}

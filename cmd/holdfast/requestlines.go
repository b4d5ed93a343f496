package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// maxLineBytes bounds a line of a requests file; a request is a few hundred bytes.
const maxLineBytes = 1 << 20

// requestFields are the names that a line may use.
var requestFields = []string{
	"v", "type", "event_id", "order_id", "customer_id", "section", "quantity", wire.FieldSeats, wire.FieldAdjacent, wire.FieldAllocation, wire.FieldItems,
	wire.FieldAccessCode, wire.FieldPaymentToken, "unit_price", "hold_seconds", "valid_seconds", "attempt", "change", "amount", wire.FieldRefund, "traceparent", "reason", "by",
}

// readJobs reads JSON lines until their end, or that of ctx. Errors of reading
// are the last job.
func readJobs(ctx context.Context, in io.Reader) <-chan job {
	jobs := make(chan job, publishBatch)
	go func() {
		defer close(jobs)
		lines := bufio.NewReaderSize(in, maxLineBytes)
		for number := 1; ; number++ {
			text, err := readLine(lines)
			j := job{line: number, err: err}
			switch {
			case errors.Is(err, io.EOF) && len(text) == 0:
				return
			case err == nil || errors.Is(err, io.EOF):
				if text = bytes.TrimSpace(text); len(text) == 0 {
					continue
				}
				j.request, j.err = parseRequestLine(text)
				j.err = domain.WithCode(domain.ClassReject, domain.CodeInvalid, j.err)
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				return
			}
			if err != nil && !errors.Is(err, errLineTooLong) {
				return
			}
		}
	}()
	return jobs
}

var errLineTooLong = domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("longer than %d bytes", maxLineBytes))

// readLine returns the next line, valid until the next call. It passes over the
// rest of one that is too long.
func readLine(lines *bufio.Reader) ([]byte, error) {
	text, err := lines.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return text, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = lines.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return nil, errLineTooLong
}

// parseRequestLine reads one request. Its errors repeat no value: one of them is secret.
func parseRequestLine(text []byte) (domain.Request, error) {
	if !utf8.Valid(text) {
		return domain.Request{}, errors.New("not UTF-8") // or the decoder would change it without a word
	}
	fields, err := decodeFields(text)
	if err != nil {
		return domain.Request{}, err
	}
	names := make(map[string]string, len(fields)/2)
	for i := 0; i < len(fields); i += 2 {
		names[fields[i]] = fields[i+1]
	}
	if _, given := names["v"]; !given {
		version := wire.RequestVersion
		if domain.RequestType(names["type"]).NeedsVersion2() {
			version = wire.RequestVersionItems
		}
		for name := range names {
			if wire.NeedsVersion2(name) {
				version = wire.RequestVersionItems
			}
		}
		fields = append(fields, "v", version)
	}
	if _, given := names["order_id"]; !given && domain.RequestType(names["type"]).Opens() {
		id, err := newOrderID()
		if err != nil {
			return domain.Request{}, err
		}
		fields = append(fields, "order_id", id)
	}
	return wire.ParseRequest(fields)
}

// decodeFields turns a JSON object into the flat list of a stream entry. It reads
// token by token, so that a field given twice is still there twice. A null is
// a field that is not given.
func decodeFields(text []byte) ([]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	open, err := decoder.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if open != json.Delim('{') {
		return nil, errors.New("want a JSON object")
	}
	var fields []string
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		name, _ := key.(string) // in an object, the decoder allows nothing else
		if !slices.Contains(requestFields, name) {
			return nil, fmt.Errorf("unknown field %.40q", name)
		}
		if name == wire.FieldItems { // JSON itself
			var items json.RawMessage
			if err := decoder.Decode(&items); err != nil {
				return nil, fmt.Errorf("not JSON: %w", err)
			}
			if string(items) != "null" {
				fields = append(fields, name, string(items))
			}
			continue
		}
		value, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		switch value := value.(type) {
		case string:
			fields = append(fields, name, value)
		case json.Number:
			fields = append(fields, name, value.String())
		case bool:
			if name != wire.FieldAdjacent && name != wire.FieldRefund {
				return nil, fmt.Errorf("%s: want a string or a number", name)
			}
			fields = append(fields, name, strconv.FormatBool(value))
		case json.Delim:
			if name != wire.FieldSeats || value != '[' {
				return nil, fmt.Errorf("%s: want a string or a number", name)
			}
			seats, err := decodeSeats(decoder)
			if err != nil {
				return nil, err
			}
			fields = append(fields, name, seats)
		case nil:
		default:
			return nil, fmt.Errorf("%s: want a string or a number", name)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON object")
	}
	return fields, nil
}

// decodeSeats reads the rest of an array of seats, as the field has them.
func decodeSeats(decoder *json.Decoder) (string, error) {
	var names []string
	for decoder.More() {
		value, err := decoder.Token()
		if err != nil {
			return "", fmt.Errorf("not JSON: %w", err)
		}
		name, ok := value.(string)
		if !ok || strings.Contains(name, ",") {
			return "", fmt.Errorf("%s: want an array of strings, such as A-12", wire.FieldSeats)
		}
		names = append(names, name)
	}
	if _, err := decoder.Token(); err != nil {
		return "", fmt.Errorf("not JSON: %w", err)
	}
	return strings.Join(names, ","), nil
}

// newOrderID is sorted by time, which Redis and people like.
func newOrderID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("making an order id: %w", err)
	}
	return id.String(), nil
}

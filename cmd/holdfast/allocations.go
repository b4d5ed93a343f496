package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
)

// codeKeyFlags say what access codes are hashed with.
type codeKeyFlags struct {
	CodeKeyFile string `name:"code-key-file" env:"HOLDFAST_CODE_KEY_FILE" placeholder:"FILE" help:"File with the key that access codes are hashed with; during a rotation with two, a line each, of which the first is the newer: codes of either are accepted. HOLDFAST_CODE_KEY may have them itself instead. Default: none."`
}

// keys are none, if there is none.
func (f codeKeyFlags) keys() (domain.CodeKeys, error) {
	text, from := os.Getenv("HOLDFAST_CODE_KEY"), "HOLDFAST_CODE_KEY"
	if f.CodeKeyFile != "" { // it comes before what the environment has for all
		b, err := os.ReadFile(f.CodeKeyFile)
		if err != nil {
			return nil, badUsage("--code-key-file: %w", err)
		}
		text, from = string(b), "--code-key-file"
	}
	if text == "" && f.CodeKeyFile == "" {
		return nil, nil
	}
	keys, err := domain.ParseCodeKeys(text)
	if err != nil {
		return nil, badUsage("%s: %w", from, err)
	}
	return keys, nil
}

// nameFlag is NAME=VALUE.
type nameFlag struct{ name, value string }

// UnmarshalText reads the flag.
func (f *nameFlag) UnmarshalText(text []byte) error {
	f.name, f.value, _ = strings.Cut(string(text), "=")
	if f.name == "" || f.value == "" {
		return fmt.Errorf("want NAME=VALUE, but got %q", text)
	}
	return nil
}

// placesFlag is SECTION:N, or SECTION:ROW-NUMBER/ROW-NUMBER…; for blocking also SECTION~ALLOCATION:N.
type placesFlag struct {
	section string
	places  int64
	seats   []string // instead of places
}

const placesForms = "want SECTION:N, such as general:50, or SECTION:SEAT/SEAT…, such as stalls:A-1/A-2"

// UnmarshalText reads the flag.
func (f *placesFlag) UnmarshalText(text []byte) error {
	section, said, found := strings.Cut(string(text), ":")
	if !found || section == "" || said == "" {
		return fmt.Errorf("%s, but got %q", placesForms, text)
	}
	*f = placesFlag{section: section}
	if strings.Contains(said, "-") && said[0] != '-' {
		f.seats = strings.Split(said, "/")
		return nil
	}
	n, err := strconv.ParseInt(said, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%s, but got %q", placesForms, text)
	}
	f.places = n
	return nil
}

// allocationFlag is NAME, or NAME= and places.
type allocationFlag struct {
	name string
	placesFlag
}

// UnmarshalText reads the flag.
func (f *allocationFlag) UnmarshalText(text []byte) error {
	name, places, has := strings.Cut(string(text), "=")
	if f.name = name; name == "" {
		return fmt.Errorf("want NAME=SECTION:N, such as fans=general:50, but got %q", text)
	}
	if !has {
		return nil
	}
	return f.placesFlag.UnmarshalText([]byte(places))
}

// allocationTime is NAME=TIME.
type allocationTime struct {
	name string
	timeFlag
}

// UnmarshalText reads the flag.
func (f *allocationTime) UnmarshalText(text []byte) error {
	var as nameFlag
	if err := as.UnmarshalText(text); err != nil {
		return err
	}
	f.name = as.name
	return f.timeFlag.UnmarshalText([]byte(as.value))
}

// allocationFlags are who may take which places.
type allocationFlags struct {
	Allocation        []allocationFlag `sep:"none" placeholder:"NAME=SECTION:N" help:"Places of a section that only requests with an access code may take: so many in all, of a section with a number of places. Give the flag once for each."`
	AllocationOnSale  []allocationTime `sep:"none" placeholder:"NAME=TIME" help:"When the sale of an allocation begins. Default: with that of the event."`
	AllocationOffSale []allocationTime `sep:"none" placeholder:"NAME=TIME" help:"When it ends. Default: with that of the event."`
	Codes             []nameFlag       `sep:"none" placeholder:"NAME=FILE" help:"Access codes that open an allocation: a file of them, one a line. They are stored as hashes."`
	CodeUses          int64            `placeholder:"N" help:"By how many orders at once each of these codes can be used. Default: any number."`
	Block             []placesFlag     `sep:"none" placeholder:"SECTION:N" help:"How many places of a section are not for sale; of its places of an allocation: SECTION~NAME:N."`
	codeKeyFlags
}

// given reports whether any of them says something.
func (c *allocationFlags) given() bool {
	return len(c.Allocation)+len(c.AllocationOnSale)+len(c.AllocationOffSale)+len(c.Codes)+len(c.Block) > 0 || c.CodeUses != 0
}

// terms are those of an event with what the flags say; e is the event as it is, the zero Event if it is not there yet.
func (c *allocationFlags) terms(eventID string, e domain.Event, t domain.Terms) (domain.Terms, error) {
	if c.CodeUses != 0 && len(c.Codes) == 0 {
		return t, badUsage("--code-uses: goes with --codes")
	}
	var err error
	for _, f := range c.Allocation {
		switch {
		case f.section == "":
			if !slices.ContainsFunc(t.Allocations, func(a domain.Allocation) bool { return a.Name == f.name }) {
				t.Allocations = append(slices.Clone(t.Allocations), domain.Allocation{Name: f.name})
			}
		case len(f.seats) > 0 && !e.Exists():
			return t, badUsage("--allocation %s: seats are allocated in --rows or --seats when an event is created, and with events adjust", f.name)
		case len(f.seats) > 0:
			t, err = t.AllocateSeats(e, f.section, f.name, f.seats)
		default:
			t, err = t.Allocate(f.section, f.name, f.places)
		}
		if err != nil {
			return t, flagError("--allocation", err)
		}
	}
	for _, f := range c.Block {
		if len(f.seats) > 0 {
			t, err = t.BlockSeats(e, f.section, f.seats, true)
		} else {
			t, err = t.Block(f.section, f.places)
		}
		if err != nil {
			return t, flagError("--block", err)
		}
	}
	if t, err = c.windows(t); err != nil {
		return t, err
	}
	for _, f := range c.Codes {
		hashes, err := c.hashes(eventID, f.value)
		if err != nil {
			return t, badUsage("--codes %s: %w", f.name, err)
		}
		if t, err = t.OpenedBy(f.name, c.CodeUses, hashes...); err != nil {
			return t, badUsage("--codes: %w", err)
		}
	}
	return t, nil
}

// flagError says which flag is wrong; what cannot be done is no mistake in it.
func flagError(flag string, err error) error {
	if domain.CodeOf(err) == domain.CodeBelowHeld {
		return err
	}
	return badUsage("%s: %w", flag, err)
}

// windows are terms with the times at which allocations are on sale.
func (c *allocationFlags) windows(t domain.Terms) (domain.Terms, error) {
	t.Allocations = slices.Clone(t.Allocations)
	for flag, times := range map[string][]allocationTime{"--allocation-on-sale": c.AllocationOnSale, "--allocation-off-sale": c.AllocationOffSale} {
		for _, f := range times {
			i := slices.IndexFunc(t.Allocations, func(a domain.Allocation) bool { return a.Name == f.name })
			if i < 0 {
				return t, badUsage("%s: there is no allocation %s", flag, f.name)
			}
			if flag == "--allocation-on-sale" {
				t.Allocations[i].OnSaleMillis = f.millis
			} else {
				t.Allocations[i].OffSaleMillis = f.millis
			}
		}
	}
	return t, nil
}

// maxCodesFile is how large a file of access codes may be.
const maxCodesFile = 1 << 20

// hashes are those of the codes in a file, by the newest key. Its errors repeat no code.
func (f codeKeyFlags) hashes(eventID, file string) ([]string, error) {
	keys, err := f.keys()
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("access codes are hashed with a key: want HOLDFAST_CODE_KEY or --code-key-file, the same as the workers have")
	}
	codes, err := readCodes(file)
	if err != nil {
		return nil, err
	}
	hashes := make([]string, len(codes))
	for i, code := range codes {
		hashes[i] = keys.Hashes(eventID, code)[0]
	}
	return hashes, nil
}

// readCodes returns the codes of a file, one a line.
func readCodes(file string) (codes []domain.Secret, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(text) > maxCodesFile {
		return nil, fmt.Errorf("%s: is larger than %d bytes", file, maxCodesFile)
	}
	line := 0
	for said := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		line++
		code := domain.Secret(strings.TrimSpace(said))
		if code == "" {
			continue
		}
		if err = domain.CheckAccessCode(code); err == nil && slices.Contains(codes, code) {
			err = errors.New("was there before")
		}
		if codes = append(codes, code); err == nil && len(codes) > domain.MaxCodes {
			err = fmt.Errorf("want at most %d codes of an event", domain.MaxCodes)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", file, line, err)
		}
	}
	if len(codes) == 0 {
		return nil, fmt.Errorf("%s: has no code", file)
	}
	return codes, nil
}

// allocationView is an allocation of an event in JSON.
type allocationView struct {
	Allocation string `json:"allocation"`
	Codes      int    `json:"codes"` // that open it
	Used       int64  `json:"used"`  // by how many orders they are used now
	saleView
}

// sale is when the places are on sale, for people.
func (v allocationView) sale() string {
	if v.OnSaleMillis == 0 && v.OffSaleMillis == 0 {
		return "with the event"
	}
	return v.String()
}

func viewAllocations(event domain.Event) []allocationView {
	list := []allocationView{}
	for _, a := range event.Allocations {
		v := allocationView{Allocation: a.Name, saleView: viewSale(a.OnSaleMillis, a.OffSaleMillis)}
		for _, c := range a.Codes {
			if v.Used += c.Used; !c.Revoked {
				v.Codes++
			}
		}
		list = append(list, v)
	}
	return list
}

package layout

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Branch is one continuous life of a partition's log. Whoever finds that the data was replaced begins another.
type Branch struct {
	ID string
	// Parent is the branch that the partition had until then, as it is stored; empty: none.
	Parent string
	// Knew is the branch that whoever began this one had worked on: the parent, unless an older copy is of a
	// branch before that, or nothing is left. Empty: none.
	Knew string
	// Common is the newest entry that was seen in the log of Knew and is in this one, byte for byte. What Knew
	// has behind it was not read into this branch: it has its own. Empty: not known.
	Common string
	// End is the newest entry that the log had when the branch was begun; empty: none.
	End      string
	AtMillis int64
	By       string // the worker that found the data replaced; empty: the namespace was made, or migrated
}

// MostBranches bounds how many branches of a partition are listed.
const MostBranches = 32

// NewBranchID is a name that no branch has.
func NewBranchID() string { return strings.ToLower(rand.Text()[:12]) }

// String is the line of BranchesField.
func (b Branch) String() string {
	return strings.Join([]string{b.ID, b.Parent, b.Knew, b.Common, b.End, strconv.FormatInt(b.AtMillis, 10), b.By}, "|")
}

// DecodeBranches reads BranchesField: a line for each branch, the newest first.
func DecodeBranches(value string) ([]Branch, error) {
	var branches []Branch
	for line := range strings.Lines(value) {
		values := strings.SplitN(strings.TrimSuffix(line, "\n"), "|", 7)
		if len(values) != 7 || values[0] == "" {
			return nil, damaged("branch", line)
		}
		at, err := strconv.ParseInt(values[5], 10, 64)
		if err != nil {
			return nil, damaged("branch", line)
		}
		branches = append(branches, Branch{
			ID: values[0], Parent: values[1], Knew: values[2], Common: values[3], End: values[4], AtMillis: at, By: values[6],
		})
	}
	return branches, nil
}

// CheckBranches returns what is wrong with a partition's branch and the list of them, nil if nothing is.
func CheckBranches(id string, branches []Branch) error {
	switch {
	case id == "":
		return errors.New("has no branch")
	case len(branches) == 0 || branches[0].ID != id:
		return fmt.Errorf("is of branch %s, which is not the newest that is listed", id)
	}
	seen := make(map[string]bool, len(branches))
	for i, b := range branches {
		if seen[b.ID] {
			return fmt.Errorf("branch %s is listed twice", b.ID)
		}
		seen[b.ID] = true
		switch last := i+1 == len(branches); {
		case !last && b.Parent != branches[i+1].ID:
			return fmt.Errorf("branch %s has the parent %q, the one before it is %s", b.ID, b.Parent, branches[i+1].ID)
		case last && b.Parent != "" && len(branches) < MostBranches:
			return fmt.Errorf("branch %s has the parent %s, which is not listed", b.ID, b.Parent)
		}
	}
	return nil
}

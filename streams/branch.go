package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// storedBranch is what is stored of a partition's branch.
type storedBranch struct {
	id     string          // "" none
	listed []layout.Branch // it, and those before it, as far as they can be read
}

// answers reports whether the branch was begun, or one before it, because somebody who had worked on was found that the
// data is other data: then there is no need to begin another one.
func (b storedBranch) answers(was string) bool {
	for _, l := range b.listed {
		if l.Parent == was || l.Knew == was {
			return true
		}
	}
	return false
}

// readBranches reads the branches of all partitions.
func (s *Store) readBranches(ctx context.Context) ([]storedBranch, error) {
	pipe := s.rdb.Pipeline()
	reads := make([]*redis.SliceCmd, s.partitions)
	for p := range reads {
		reads[p] = pipe.HMGet(ctx, s.keys.Events(p), layout.BranchField, layout.BranchesField)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading branches: %w", access.Classify(err))
	}
	branches := make([]storedBranch, s.partitions)
	for p, read := range reads {
		values := read.Val()
		branches[p].id = layout.AsString(values[0])
		// What is damaged the audit tells of; it must keep nobody from beginning another branch.
		branches[p].listed, _ = layout.DecodeBranches(layout.AsString(values[1]))
	}
	return branches, nil
}

// firstBranches reads the branches of all partitions, and begins one where there is none.
func (s *Store) firstBranches(ctx context.Context) ([]past, error) {
	branches, err := s.readBranches(ctx)
	if err != nil {
		return nil, err
	}
	at := make([]past, s.partitions)
	for p, b := range branches {
		if at[p].branch = b.id; b.id != "" {
			continue
		}
		if at[p].branch, _, err = s.beginBranch(ctx, p, layout.Branch{}); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// beginBranch begins a branch in a partition, if that is still of the parent. It returns the branch that the partition
// is of then.
func (s *Store) beginBranch(ctx context.Context, p int, b layout.Branch) (is string, begun bool, err error) {
	id := layout.NewBranchID()
	is, err = s.run(ctx, scriptBeginBranch, []string{s.keys.Events(p), s.keys.Log(p)},
		b.Parent, id, b.Knew, b.Common, inOneLine(b.By), layout.MostBranches).Text()
	if err != nil {
		return "", false, fmt.Errorf("script begin_branch: %w", access.Classify(err))
	}
	return is, is == id, nil
}

// inOneLine keeps what is in a line of a list from ending it.
func inOneLine(s string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(s) }

// branchTries bounds how often it is looked again because others begin branches.
const branchTries = 10

// branchOff sees to it that every partition is of a branch that nobody knows who has seen more than what is stored now:
// the one that somebody else began for that reason, or a new one. It returns what is known now.
//
// All partitions, and not only those in which something was found to be missing: what others have seen of
// the rest, and is lost, nobody can know here.
func (s *Store) branchOff(ctx context.Context, by string) ([]past, error) {
	at, done := make([]past, s.partitions), make([]bool, s.partitions)
	for range branchTries {
		branches, err := s.readBranches(ctx)
		if err != nil {
			return nil, err
		}
		left := 0
		for p, is := range branches {
			if done[p] {
				continue
			}
			was := s.history.of(p)
			if at[p].seen, err = s.common(ctx, p, was.seen); err != nil {
				return nil, err
			}
			if is.id != was.branch && is.answers(was.branch) {
				at[p].branch, done[p] = is.id, true
				continue
			}
			b := layout.Branch{Parent: is.id, Knew: was.branch, By: by}
			if newest, known := at[p].seen.newest(); known {
				b.Common = newest.id.String()
			}
			if at[p].branch, done[p], err = s.beginBranch(ctx, p, b); err != nil {
				return nil, err
			}
			if !done[p] {
				left++
			}
		}
		if left == 0 {
			return at, nil
		}
	}
	return nil, domain.WithCode(domain.ClassRetry, domain.CodeConflict, errors.New("others go on beginning branches"))
}

// common is the part of a trail that is in the log, byte for byte: its beginning, since what two logs have in
// common is where they begin. None of it is, if the newest of that may have been trimmed: what was behind it in this log is not known.
func (s *Store) common(ctx context.Context, p int, seen trail) (trail, error) {
	from, to := 0, len(seen) // before from all are there, from to on none is
	for next := to - 1; from < to; next = (from + to) / 2 {
		there, err := s.inLog(ctx, p, seen[next])
		if err != nil {
			return nil, err
		}
		if there {
			from = next + 1
		} else {
			to = next
		}
	}
	if from == 0 {
		return nil, nil
	}
	trimmed, err := s.Inside().Trimmed(ctx, p)
	if err != nil || trimmed.After(seen[from-1].id) {
		return nil, err
	}
	return seen[:from], nil
}

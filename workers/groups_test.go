package workers

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

// That somebody removed a group is told for a while, although the worker goes on at once, and counted by itself.
func TestGroupGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Pool{log: zap.NewNop(), redis: health{log: zap.NewNop()}}
		gone := domain.WithCode(domain.ClassRetry, domain.CodeGroupGone, errors.New("NOGROUP"))
		p.redisFailed(errors.New("connection refused"))
		if told := p.groups.look(); len(told) != 0 {
			t.Errorf("told %+v before any was", told)
		}
		p.redisFailed(gone)
		time.Sleep(10 * time.Minute)
		p.redisFailed(gone)
		time.Sleep(groupsGoneFor - time.Second)
		told := p.groups.look()
		if len(told) != 1 || told[0].Code != domain.CodeGroupGone || !strings.Contains(told[0].Text, "NOGROUP") || told[0].LastedMillis != (10*time.Minute+groupsGoneFor-time.Second).Milliseconds() {
			t.Errorf("told %+v", told)
		}
		time.Sleep(time.Second)
		if told := p.groups.look(); len(told) != 0 {
			t.Errorf("told %+v for ever", told)
		}
		p.redisFailed(gone)
		if told := p.groups.look(); len(told) != 1 || told[0].LastedMillis != 0 {
			t.Errorf("told %+v of another time", told)
		}
		got := make(map[string]int64)
		for _, c := range p.stats.RedisErrors() {
			got[c.Label] = c.N
		}
		if got["group_gone"] != 3 || got["retry"] != 1 {
			t.Errorf("counted %v", got)
		}
	})
}

package redistest

import "testing"

// Masters die, their replicas take over, the dead come back as replicas, and
// slots move: what the tests on top of it count on.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	const slot = 100
	owner := c.MasterOf(slot)
	c.KillMaster(owner)
	heir := c.MasterOf(slot)
	if heir == owner {
		t.Fatal("the dead master still has the slot")
	}
	owner.Restart()
	c.Wait()
	for _, m := range c.Masters() {
		if m == owner {
			t.Error("the master came back as one")
		}
		if m != heir {
			c.MoveSlot(slot, m)
			if c.MasterOf(slot) != m {
				t.Error("the slot did not move")
			}
			break
		}
	}
}

// When the master is killed there is another one, and the old one comes back as its replica.
func TestSentinels(t *testing.T) {
	t.Parallel()
	s := StartSentinels(t)
	first := s.Master()
	s.KillMaster()
	s.Revive()
	if s.Master() == first {
		t.Error("the master is still the same")
	}
}

// Servers have more flags than those that matter here, and newer ones have more still.
func TestReaches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flags, what string
		want        bool
	}{
		{"sentinel", "sentinel", true},
		{"sentinel,master_down", "sentinel", true}, // as it was asked in the failover
		{"slave", "slave", true},
		{"slave,reconf_done", "slave", true},
		{"slave,disconnected", "slave", false},
		{"s_down,slave", "slave", false},
		{"s_down,slave,disconnected", "slave", false},
		{"s_down,sentinel,master_down", "sentinel", false},
		{"s_down,o_down,slave", "slave", false},
		{"slave", "sentinel", false},
		{"", "slave", false},
	} {
		if got := reaches(tt.flags, tt.what); got != tt.want {
			t.Errorf("reaches(%q, %q) = %t, want %t", tt.flags, tt.what, got, tt.want)
		}
	}
}

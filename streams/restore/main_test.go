package restore_test

import (
	"os"
	"testing"

	"holdfast/streams/internal/streamstest"
)

func TestMain(m *testing.M) { os.Exit(streamstest.Run(m)) }

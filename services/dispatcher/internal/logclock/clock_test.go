package logclock_test

import (
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/logclock"
)

const tolerance = time.Second

func TestItFollowsTheLogWhateverTheLocalClockSays(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{5 * time.Minute, -5 * time.Minute, 0} {
		clock := logclock.New()
		clock.Learn(time.Now().Add(-off).UnixNano())
		log := time.Now().Add(-off)
		if late := time.Duration(log.UnixNano() - clock.Now()); late < -tolerance || late > tolerance {
			t.Errorf("off by %s: the clock is %s behind the log's", off, late)
		}
	}
}

func TestOldMessagesDoNotHoldItBack(t *testing.T) {
	t.Parallel()
	clock := logclock.New()
	for _, age := range []time.Duration{time.Hour, 0, time.Minute} {
		clock.Learn(time.Now().Add(-age).UnixNano())
	}
	if late := time.Duration(time.Now().UnixNano() - clock.Now()); late < -tolerance || late > tolerance {
		t.Errorf("the clock is %s behind after a fresh message", late)
	}
}

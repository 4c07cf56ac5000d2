package cluster

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trials
		lately := func(node, service string) bool {
			return !tr.lately(node, service, time.Now()).IsZero()
		}
		tr.fail("a", time.Now())
		tr.fail(trialOf("b", "x"), time.Now())
		if !lately("a", "x") || !lately("a", "y") || !lately("b", "x") || lately("b", "y") ||
			lately("c", "x") {
			t.Errorf("failures %v", tr.failed)
		}
		tr.forgive("a")
		if lately("a", "x") {
			t.Error("a was not forgiven")
		}
		time.Sleep(forgiveAfter + 1)
		if lately("b", "x") {
			t.Error("b was not forgiven with time")
		}
		tr.fail("c", time.Now())
		if len(tr.failed) != 1 {
			t.Errorf("kept %v, want c alone", tr.failed)
		}
	})
}

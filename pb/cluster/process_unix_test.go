//go:build unix

package cluster_test

import (
	"syscall"
	"testing"

	"perspective/pb"
)

// TestHung stops a provider without ending its connection: only the gossip
// tells, and the connection itself when it is asked.
func TestHung(t *testing.T) {
	ctx := scene(t)
	caller := start(ctx, t, "", nil)
	children := spawner(ctx, t, caller)
	children.spawn()
	children.spawn()
	caller.providers(ctx, t, 2)
	s := caller.Service("who")
	pid, err := pb.Do[int](ctx, s, "name")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil ||
		!status.Stopped() {
		t.Fatalf("Wait4 = %v, %v, want stopped", status, err)
	}
	_, err = pb.Do[int](ctx, s, "name")
	if err == nil || pb.OutcomeOf(err) != pb.MaybeExecuted {
		t.Errorf("call to a stopped process = %v, %v, want MaybeExecuted", err, pb.OutcomeOf(err))
	}
	if other, err := pb.Do[int](ctx, s, "name"); other == pid || err != nil {
		t.Errorf("process %d answered, %v; %d is stopped", other, err, pid)
	}
}

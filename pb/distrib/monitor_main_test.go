package distrib

import (
	"fmt"
	"os"
	"testing"
)

// processRoles are what this test binary does when a test starts it again as a process of its own:
// the role is the first argument. Other test files add theirs in an init.
var processRoles = map[string]func(args []string){}

// The poller of the runtime is open before main, as some packages' inits open it: a child that
// closes its descriptor dies.
var _ = func() [2]*os.File {
	r, w, err := os.Pipe()
	if err != nil {
		processFail(err)
	}
	return [2]*os.File{r, w}
}()

func TestMain(m *testing.M) {
	RunChild()
	if len(os.Args) > 1 {
		if role, ok := processRoles[os.Args[1]]; ok {
			role(os.Args[2:])
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// skipOrFail skips for want of a kernel feature, or fails where the environment says that all must
// be there.
func skipOrFail(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("PERSPECTIVE_REQUIRE") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func processFail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

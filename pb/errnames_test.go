package pb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"perspective/jelly"
)

// ownName is a name of this module's, or of what it takes from the standard library.
var ownName = regexp.MustCompile(`^(pb|broker|cred|jelly|context|io|os|errors)\.[A-Z]`)

// errorFieldsOf are the values of the error types, as builtinErrorTypes writes them.
var errorFieldsOf = map[string]string{
	"pb.NoSuchMethodError": "`[method, near]`: what was called, and names that are like it",
	"pb.ArgumentError":     "`[method, want, got]`: how many arguments",
	"jelly.TypeError":      "`[path, text]`: where in the arguments or the result",
	"jelly.ScanError":      "`[offset, text]`: where in the message, in bytes",
	"pb.InternalError": "a panic; its text has the id under which the log of the answering " +
		"side has it",
	"pb.CallError":      "a call that failed on its way, as the cause of another error",
	"pb.MalformedError": "an error that has not this form",
}

// TestErrorNamesDocument: the table of the wire's specification has the names that cross, and no
// other.
func TestErrorNamesDocument(t *testing.T) {
	text := maps.Clone(errorFieldsOf)
	for _, e := range errorNames.all() {
		text[e.name] = e.sentinel.Error()
	}
	errorNames.mu.RLock()
	for name, e := range errorNames.byName {
		if e.typ != nil && ownName.MatchString(name) && text[name] == "" {
			t.Errorf("%s has no fields here", name)
		}
	}
	errorNames.mu.RUnlock()
	var rows []string
	for name, s := range text {
		if ownName.MatchString(name) && !strings.HasPrefix(name, "pb.surface") {
			rows = append(rows, fmt.Sprintf("| `%s` | %s |", name, s))
		}
	}
	slices.Sort(rows)
	want := "| name | text, or value |\n|---|---|\n" + strings.Join(rows, "\n") + "\n"
	doc, err := os.ReadFile("../docs/wire-native.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "\n"+want+"\n") {
		t.Errorf("docs/wire-native.md has not this table:\n%s", want)
	}
}

type (
	mute      struct{ error } // its Error panics
	textError string
)

func (e textError) Error() string { return string(e) }

func (e textError) Is(err error) bool { return err == fs.ErrPermission }

// TestNamesThatCross: nothing crosses in the place of a name but names that both sides may have
// agreed on, whatever an error is made of.
func TestNamesThatCross(t *testing.T) {
	_, number := strconv.Atoi("x")
	for _, err := range []error{
		errors.New("plain"), fmt.Errorf("x: %w", errors.New("plain")),
		errors.Join(errors.New("a"), mute{}),
		fmt.Errorf("%w and %w", textError("t"), mute{}), mute{}, (*surfaceStock)(nil), (*mute)(nil),
		textError("t"), number,
		&os.PathError{Op: "open", Path: "/x", Err: syscall.EPERM}, syscall.ENOENT,
		&net.OpError{Op: "dial", Err: &net.DNSError{}},
		&url.Error{Op: "get", URL: "x", Err: context.DeadlineExceeded},
		&PanicError{Value: "v", ID: "1"}, &surfaceOuter{"buy", mute{}},
		&callError{method: "m", err: mute{}, outcome: Executed},
		&callError{method: "m", err: ErrPeerClosed, outcome: MaybeExecuted},
		&ProtocolError{Reason: "r"}, &AbortError{Reason: "r"},
		&jelly.TypeError{Reason: "r", Err: mute{}},
		&Failure{Message: "m", causes: []error{mute{}}}, nil,
	} {
		e := jelly.GetEncoder()
		defer jelly.PutEncoder(e)
		e.Reset(nil, nil)
		errorCodec{tracebacks: true}.EncodeError(e, err)
		if _, err := jelly.Scan(e.Buffer(), nil); err != nil {
			t.Fatal(err)
		}
		d := new(jelly.Decoder)
		d.Reset(nil, nil, e.Buffer(), nil)
		tree, derr := d.DecodeAny()
		if derr != nil {
			t.Errorf("%T: %v", err, derr)
			continue
		}
		for _, name := range namesIn(tree) {
			if _, ours := errorFieldsOf[name]; name != "" && !ours &&
				errorNames.named(name) == nil {
				t.Errorf("%T crosses with the name %q in it", err, name)
			}
		}
	}
	if got := surfaceCross((*surfaceStock)(nil)); !IsType(got, "surface.Stock") ||
		!IsType(got, "surface.Shop") {
		t.Errorf("a registered error without a text crosses as %#v", got)
	}
}

// namesIn are the names of an error and of all that it wraps.
func namesIn(tree any) (names []string) {
	list := tree.([]any)
	names = append(names, list[0].(string))
	if causes, ok := list[4].([]any); ok {
		for _, c := range causes {
			names = append(names, namesIn(c)...)
		}
	}
	return names
}

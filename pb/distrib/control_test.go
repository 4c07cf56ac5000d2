package distrib

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDecodeMessage(t *testing.T) {
	for _, test := range []struct {
		name        string
		in          string
		descriptors int
		want        message
		bad         bool
	}{
		{name: "link", in: "\x04board:1", descriptors: 1, want: message{msgLink, "board:1"}},
		{name: "link of an instance", in: "\x04board.2:1:board", descriptors: 1,
			want: message{msgLink, "board.2:1:board"}},
		{name: "link of no mount", in: "\x04board.2:1:", descriptors: 1, bad: true},
		{name: "end of a link", in: "\x0bboard:18446744073709551615",
			want: message{msgEnded, "board:18446744073709551615"}},
		{name: "link that serves", in: "\x0c~ann:7", want: message{msgServes, "~ann:7"}},
		{name: "ready", in: "\x07", want: message{msgReady, ""}},
		{name: "start", in: "\x08~ann", want: message{msgStart, "~ann"}},
		{name: "failed", in: "\x06no such \x1b[2J", want: message{msgFailed, "no such \x1b[2J"}},
		{name: "empty", in: "", bad: true},
		{name: "long", in: "\x06" + strings.Repeat("x", 256), bad: true},
		{name: "kind 0", in: "\x00", bad: true},
		{name: "born", in: "\x0apart", descriptors: 1, want: message{msgBorn, "part"}},
		{name: "born without a process", in: "\x0apart", bad: true},
		{name: "kind 16", in: "\x10", bad: true},
		{name: "took", in: "\x0fconfig", want: message{msgTook, "config"}},
		{name: "took not", in: "\x0fconfig:no: way",
			want: message{msgTook, "config:no: way"}},
		{name: "took nothing", in: "\x0f:why", bad: true},
		{name: "link without descriptor", in: "\x04board:1", bad: true},
		{name: "link with two", in: "\x04board:1", descriptors: 2, bad: true},
		{name: "link without a number", in: "\x04board", descriptors: 1, bad: true},
		{name: "link with number 0", in: "\x0bboard:0", bad: true},
		{name: "link with a number too large", in: "\x0bboard:18446744073709551616", bad: true},
		{name: "link with a word for a number", in: "\x0cboard:one", bad: true},
		{name: "link without a name", in: "\x0b:1", bad: true},
		{name: "ready with one", in: "\x07", descriptors: 1, bad: true},
		{name: "ready with text", in: "\x07x", bad: true},
		{name: "start of nothing", in: "\x08", bad: true},
		{name: "start of a path", in: "\x08../x", bad: true},
		{name: "start of too much", in: "\x08" + strings.Repeat("x", 65), bad: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := decodeMessage([]byte(test.in), test.descriptors)
			if test.bad {
				if !errors.Is(err, errControl) {
					t.Errorf("decodeMessage(%q) = %v, %v, want an error", test.in, got, err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("decodeMessage(%q) = %v, %v, want %v", test.in, got, err, test.want)
			}
			if back := string(got.encode()); back != test.in {
				t.Errorf("encode = %q, want %q", back, test.in)
			}
		})
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte("\x04board"), 1)
	f.Add([]byte("\x0512"), 0)
	f.Fuzz(func(t *testing.T, b []byte, descriptors int) {
		m, err := decodeMessage(b, descriptors)
		if err != nil {
			return
		}
		if string(m.encode()) != string(b) {
			t.Errorf("%q comes back as %q", b, m.encode())
		}
		if m.kind == msgReport {
			if r, err := decodeReport(m.text); err == nil && r.encode() != m.text {
				t.Errorf("report %q comes back as %q", m.text, r.encode())
			}
		}
	})
}

func TestRules(t *testing.T) {
	report, ready, start := message{msgReport, "70"}, message{msgReady, ""}, message{msgStart, "a"}
	failed := message{msgFailed, "x"}
	for _, test := range []struct {
		name string
		in   []message
		bad  bool // the last is refused
	}{
		{"a life", []message{report, ready, start, {msgStop, "a"}, start}, false},
		{"failed", []message{failed}, false},
		{"failed to exec", []message{report, failed}, false},
		{"two reports", []message{report, report}, true},
		{"ready first", []message{ready}, true},
		{"start first", []message{start}, true},
		{"ready twice", []message{report, ready, ready}, true},
		{"failed when ready", []message{report, ready, failed}, true},
		{"failed twice", []message{failed, failed}, true},
		{"born without an init", []message{{msgBorn, "part"}}, true},
		{"a link", []message{report, {msgLink, "a"}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r rules
			for i, m := range test.in {
				err := r.admit(m, time.Unix(1, 0))
				if want := test.bad && i == len(test.in)-1; (err != nil) != want {
					t.Errorf("message %d: %v, refused: want %v", i, err, want)
				}
			}
		})
	}
}

func TestRulesBorn(t *testing.T) {
	born, report := message{msgBorn, "part"}, message{msgReport, "70"}
	r := rules{mayBeBorn: true}
	if err := r.admit(born, time.Unix(1, 0)); err != nil {
		t.Errorf("the first word of an init: %v", err)
	}
	if err := r.admit(born, time.Unix(1, 0)); !errors.Is(err, errControl) {
		t.Errorf("born twice: %v", err)
	}
	late := rules{mayBeBorn: true}
	if err := late.admit(report, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := late.admit(born, time.Unix(1, 0)); !errors.Is(err, errControl) {
		t.Errorf("born after its report: %v", err)
	}
}

func TestRulesRate(t *testing.T) {
	var r rules
	now := time.Unix(1, 0)
	if err := r.admit(message{msgReport, "70"}, now); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		for r.admit(message{msgStart, "a"}, now) == nil {
			n++
		}
		return n
	}
	if got := count(); got != burst-1 {
		t.Errorf("%d messages at once, want %d", got, burst-1)
	}
	now = now.Add(2 * time.Second)
	if got := count(); got != 2*refill {
		t.Errorf("%d messages after 2 s, want %v", got, 2*refill)
	}
	now = now.Add(time.Hour)
	if got := count(); got != burst {
		t.Errorf("%d messages after an hour, want %d", got, burst)
	}
}

// A part says of each link at most twice something, however many links it has had.
func TestRulesWordsAboutLinks(t *testing.T) {
	var r rules
	now := time.Unix(1, 0)
	ended, serves := message{msgEnded, "a:1"}, message{msgServes, "a:1"}
	r.words.Add(wordsPerLink)
	if err := r.admit(ended, now); !errors.Is(err, errControl) {
		t.Errorf("a word before the report: %v, want refused", err)
	}
	if err := r.admit(message{msgReport, "70"}, now); err != nil {
		t.Fatal(err)
	}
	r.words.Add(99 * wordsPerLink) // far over the burst of other messages
	for i := range 100 {
		if err := errors.Join(r.admit(serves, now), r.admit(ended, now)); err != nil {
			t.Fatalf("words about link %d: %v", i, err)
		}
	}
	if err := r.admit(ended, now); !errors.Is(err, errControl) {
		t.Errorf("a word too many: %v, want refused", err)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ünïcode\tand tab": "plain, ünïcode\tand tab",
		"\x1b[2Jgone":             `\x1b[2Jgone`,
		"a\rb":                    `a\rb`,
		"\u202eright to left":     `\u202eright to left`,
		"\xff":                    "\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

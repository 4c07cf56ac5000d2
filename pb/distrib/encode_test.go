package distrib

import "testing"

func TestChooseEncoding(t *testing.T) {
	both := []string{"zstd", "gzip"}
	for _, test := range []struct {
		offered  []string
		accepted string
		want     string
	}{
		{both, "gzip, deflate, br, zstd", "zstd"},
		{both, "gzip, zstd;q=0.9", "gzip"},
		{both, "GZIP", "gzip"},
		{both, "x-gzip", "gzip"},
		{both, "*", "zstd"},
		{both, "*, zstd;q=0", "gzip"},
		{both, "zstd;q=0, *;q=0", ""},
		{both, "zstd;q=0.000, gzip; q=0.001", "gzip"},
		{both, "identity, gzip;q=0.5", ""},
		{both, "identity;q=0.5, gzip", "gzip"},
		{both, "br", ""},
		{both, "", ""},
		{both, "gzip;q=2", ""},
		{both, "gzip;q=NaN", ""},
		{both, "gzip;level=1", ""},
		{[]string{"gzip"}, "zstd", ""},
		{[]string{"gzip", "zstd"}, "gzip, zstd", "gzip"},
	} {
		if got := choose(test.offered, []string{test.accepted}); got != test.want {
			t.Errorf("choose(%q, %q) = %q, want %q", test.offered, test.accepted, got, test.want)
		}
	}
	if got := choose(both, nil); got != "" {
		t.Errorf("choose() without Accept-Encoding = %q", got)
	}
}

// So many bodies are compressed at once, an eighth of them for one client; the others are sent as
// they are.
func TestEncodersAreBounded(t *testing.T) {
	var e encoders
	key := keyOf("192.0.2.1:1")
	var held []*encoding
	for range share(maxEncoders) {
		n := e.take("gzip", key, nil)
		if n == nil {
			t.Fatalf("%d encoders, want %d", len(held), share(maxEncoders))
		}
		held = append(held, n)
	}
	if e.take("zstd", key, nil) != nil {
		t.Error("one client has more than its share")
	}
	if n := e.take("zstd", keyOf("192.0.2.2:1"), nil); n == nil {
		t.Error("another client has none")
	} else {
		n.done()
	}
	for _, n := range held {
		n.done()
	}
	n := e.take("gzip", key, nil)
	if n == nil {
		t.Error("what was given back is not there")
	}
	n.done()
}

package web

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/pb/distrib"
)

// fileOf gives the files of a part as a Handover does.
func fileOf(part *distrib.Part) func(string) (*os.File, error) {
	return func(name string) (*os.File, error) {
		f, ok := part.Files[name]
		if !ok {
			return nil, fmt.Errorf("no file %s", name)
		}
		return f, nil
	}
}

// A front that may not read the key has the pair of its monitor, and each new one that is good.
func TestPairsAreHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var monitors, fronts logBook
		disk := newPairOnDisk(t, "first", year)
		config := &Config{TLS: &disk.TLS}
		part := &distrib.Part{Files: map[string]*os.File{}}
		h, err := newTLSHandover(config, part, monitors.logger())
		if err != nil {
			t.Fatal(err)
		}
		defer h.close()
		c, err := takeCertificates(config, fileOf(part), fronts.logger())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { h.watch(ctx) })
		watching.Go(func() { c.Watch(ctx) })
		defer watching.Wait()
		defer cancel()
		second, secondKey := newPair(t, "second, of a longer name", year)
		third, thirdKey := newPair(t, "third", year)
		for _, step := range []struct {
			name      string
			cert, key []byte
			want      string
		}{
			{"a pair", second, secondKey, "second, of a longer name"},
			{"half a pair", third, nil, "second, of a longer name"},
			{"the other half", nil, thirdKey, "third"},
		} {
			disk.write(step.cert, step.key)
			pass(3 * pairEvery)
			if got := served(t, c); got != step.want {
				t.Errorf("%s: %s is served, want %s", step.name, got, step.want)
			}
		}
		if got := fronts.taken(); strings.Contains(got, "cannot be used") {
			t.Errorf("the front got a pair that is not whole: %s", got)
		}

		// A write that is under way is no news.
		if _, err := h.pair.writer.WriteAt([]byte("x"), memoryHead+100); err != nil {
			t.Fatal(err)
		}
		pass(3 * pairEvery)
		if got, told := served(t, c), fronts.taken(); got != "third" || told != "" {
			t.Errorf("in the midst of a write %s is served, and the log says %q", got, told)
		}
		if _, err := part.Files[pairFile].WriteAt([]byte("x"), 0); err == nil {
			t.Error("the front can write what it was handed")
		}
		if info, err := part.Files[pairFile].Stat(); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("it can be opened anew: %v, %v", info.Mode(), err)
		}
	})
}

func TestBadPairsAreNotHandedOver(t *testing.T) {
	disk := newPairOnDisk(t, "first", year)
	_, other := newPair(t, "other", year)
	disk.write(nil, other)
	part := &distrib.Part{Files: map[string]*os.File{}}
	_, err := newTLSHandover(&Config{TLS: &disk.TLS}, part, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("a pair that does not fit together gives %v", err)
	}
}

// By ACME the front gets its cache, the authority, and the address to dial; nothing is dialed yet.
func TestACMEIsHandedOver(t *testing.T) {
	disk := newPairOnDisk(t, "directory.test", year)
	dir := t.TempDir()
	config := &Config{TLS: &TLS{ACME: true, Domains: []string{"a.test"}, CA: disk.Cert,
		Cache: filepath.Join(dir, "in", "cache"), Directory: "https://directory.test:14000/dir"}}
	part := &distrib.Part{UID: 4711, Files: map[string]*os.File{}}
	h, err := newTLSHandover(config, part, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if !slices.Equal(h.dials, []string{"directory.test:14000"}) ||
		!slices.Equal(part.Rights.Write, []string{config.TLS.Cache}) {
		t.Errorf("it may dial %q and write %q", h.dials, part.Rights.Write)
	}
	info, err := os.Stat(config.TLS.Cache)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the cache: %v, %v", info, err)
	}
	// A front's configuration names files that it may not read.
	config.TLS.CA = "/nowhere"
	c, err := takeCertificates(config, fileOf(part), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if c.Expiry().IsZero() != true {
		t.Errorf("Expiry() = %v before there is a certificate", c.Expiry())
	}
	for name, change := range map[string]func(*TLS){
		"directory": func(t *TLS) { t.Directory = "http://directory.test" },
		"folder":    func(t *TLS) { t.Cache = disk.Cert },
	} {
		bad := *config.TLS
		bad.CA = disk.Cert
		change(&bad)
		part := &distrib.Part{UID: 4711, Files: map[string]*os.File{}}
		_, err := newTLSHandover(&Config{TLS: &bad}, part, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("newTLSHandover() = %v, want %q in it", err, name)
		}
	}
}

// A front whose uid is another one each time could not read its cache.
func TestACMENeedsAUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user's parts are all of one uid")
	}
	config := &Config{TLS: &TLS{ACME: true, Domains: []string{"a.test"}, Cache: t.TempDir()}}
	_, err := newTLSHandover(config, &distrib.Part{Files: map[string]*os.File{}}, slog.Default())
	if err == nil || !strings.Contains(err.Error(), "user") {
		t.Errorf("newTLSHandover() = %v, want that a user is needed", err)
	}
}

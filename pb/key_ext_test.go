package pb_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"perspective/cred"
	"perspective/pb"
)

func TestLoadKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.key")
	made, err := pb.LoadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file's mode is %v, %v", info.Mode(), err)
	}
	if _, err := cred.ParseNodeID(made.NodeID()); err != nil || made.IsZero() {
		t.Errorf("node id %q: %v", made.NodeID(), err)
	}
	again, err := pb.LoadKey(file)
	if again.NodeID() != made.NodeID() || err != nil {
		t.Errorf("read again: %v, %v, want %v", again, err, made)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); len(entries) != 1 || err != nil {
		t.Errorf("files beside the key: %v, %v", entries, err)
	}
}

// Makers that race all get the key that one of them made.
func TestLoadKeyRace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.key")
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			k, err := pb.LoadKey(file)
			if err != nil {
				t.Error(err)
			}
			ids[i] = k.NodeID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Fatalf("keys differ: %q", ids)
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	if _, err := pb.LoadKey(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		text string
		mode os.FileMode
	}{
		"others may read":    {string(text), 0o644},
		"the group may read": {string(text), 0o640},
		"empty":              {"", 0o600},
		"no PEM":             {"hello", 0o600},
		"half":               {string(text[:len(text)/2]), 0o600},
		"another kind of secret": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			0o600},
		"rubbish in PEM": {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
			0o600},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, test.mode); err != nil {
				t.Fatal(err)
			}
			k, err := pb.LoadKey(file)
			if err == nil || !k.IsZero() || !strings.Contains(err.Error(), file) {
				t.Errorf("LoadKey = %v, %v", k, err)
			}
			if after, err := os.ReadFile(file); string(after) != test.text || err != nil {
				t.Errorf("the file was changed: %q, %v", after, err)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		if _, err := pb.LoadKey(t.TempDir()); err == nil {
			t.Error("no error")
		}
	})
}

func TestKeyIsNotShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	k, err := pb.LoadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Split(string(text), "\n")[1]
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k)
	for _, shown := range []string{k.String(), log.String()} {
		if !strings.Contains(shown, k.NodeID()) ||
			strings.Contains(shown, secret[len(secret)-20:]) {
			t.Errorf("shown as %q", shown)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if shown := fmt.Sprintf(verb, k); shown != k.NodeID() {
			t.Errorf("%s shows %q", verb, shown)
		}
	}
	if (pb.Key{}).NodeID() != "" || !(pb.Key{}).IsZero() {
		t.Error("the zero Key is somebody")
	}
}

package cred_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os/user"
	"strconv"
	"strings"
	"testing"

	"perspective/cred"
)

func TestPasswordHides(t *testing.T) {
	const secret = "sesame"
	password := cred.Password(secret)
	claim := cred.UsernamePassword{Username: "ann", Password: password}
	outer := struct {
		Claim *cred.UsernamePassword
		List  []cred.Password
		Map   map[string]cred.Password
	}{&claim, []cred.Password{password}, map[string]cred.Password{"ann": password}}

	var texts []string
	for _, value := range []any{password, &password, claim, &claim, outer} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% X", "%d", "%t",
			"%10.3s", "%!", "no verb"} {
			texts = append(texts, fmt.Sprintf(verb, value))
		}
		texts = append(texts, fmt.Sprint(value), fmt.Errorf("wrong: %v", value).Error())

		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))

		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("login", "what", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("login", "what", value)
		texts = append(texts, log.String())
	}
	texts = append(texts, password.String(), password.GoString())
	for _, text := range texts {
		lower := strings.ToLower(strings.ReplaceAll(text, " ", ""))
		if strings.Contains(text, secret) || strings.Contains(lower, fmt.Sprintf("%x", secret)) ||
			strings.Contains(text, "115 101") {
			t.Errorf("the password shows in %q", text)
		}
	}
	if string(password) != secret {
		t.Errorf("string(password) = %q, want the password", string(password))
	}
	var read struct{ Password cred.Password }
	if err := json.Unmarshal([]byte(`{"Password":"sesame"}`), &read); err != nil ||
		read.Password != password {
		t.Errorf("a password read from JSON is %q, %v", string(read.Password), err)
	}
}

func TestPeerString(t *testing.T) {
	tests := []struct {
		peer *cred.Peer
		want string
	}{
		{nil, "unknown"},
		{&cred.Peer{}, "unknown"},
		{from("192.0.2.1"), "192.0.2.1:4000"},
		{&cred.Peer{UID: 7, HasUID: true, Addr: named{"unix", "@"}}, "uid 7"},
		{&cred.Peer{Key: keyOf(1)}, cred.NodeIDOf(keyOf(1))},
	}
	for _, test := range tests {
		if got := test.peer.String(); got != test.want {
			t.Errorf("String = %q, want %q", got, test.want)
		}
		if test.peer == nil {
			continue
		}
		peer := *test.peer
		peer.Binding = []byte("binding")
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "peer", peer)
		for _, got := range []string{
			fmt.Sprint(peer), fmt.Sprint(&peer), fmt.Sprintf("%+v", peer), fmt.Sprintf("%#v", peer),
			fmt.Sprintf("%s", peer),
			strings.Trim(fmt.Sprintf("%q", peer), `"`),
		} {
			if got != test.want {
				t.Errorf("printed as %q, want %q", got, test.want)
			}
		}
		if got := log.String(); !strings.Contains(got, `"peer":"`+test.want+`"`) {
			t.Errorf("logged as %s, want %q", got, test.want)
		}
	}
}

func TestSystemAccount(t *testing.T) {
	if _, err := cred.SystemAccount(4294967294); err == nil {
		t.Error("an account for a uid that nobody has")
	}
	me, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	uid, err := strconv.ParseUint(me.Uid, 10, 32)
	if err != nil {
		t.Skip("no uids here")
	}
	if id, err := cred.SystemAccount(uint32(uid)); err != nil || string(id) != me.Username {
		t.Errorf("SystemAccount(%d) = %q, %v, want %q", uid, id, err, me.Username)
	}
}

func TestCheckersTakeOnlyTheirKind(t *testing.T) {
	for _, checker := range []cred.Checker{
		annOnly(t), cred.AnonymousChecker{}, &cred.UIDChecker{}, &cred.KeyChecker{},
		&cred.PasswordFile{},
	} {
		if kinds := checker.Kinds(); len(kinds) != 1 {
			t.Errorf("%T takes %v, want one kind", checker, kinds)
		}
		if id, err := checker.Check(t.Context(), token("x"), &cred.Peer{}); err == nil {
			t.Errorf("%T let a token in as %q", checker, id)
		}
	}
	// Zero values let nobody in.
	for checker, c := range map[cred.Checker]cred.Credentials{
		&cred.UIDChecker{}: cred.PeerUID{}, &cred.KeyChecker{}: cred.PeerKey{},
	} {
		if id, err := checker.Check(t.Context(), c, &cred.Peer{}); err == nil {
			t.Errorf("the zero %T let somebody in as %q", checker, id)
		}
	}
}

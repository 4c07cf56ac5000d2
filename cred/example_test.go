package cred_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"perspective/cred"
)

// Desk is the avatar of an employee.
type Desk struct{ Name cred.AvatarID }

func Example() {
	users, err := cred.HashInMemory(map[string]cred.Password{"ann": "sesame"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	portal := &cred.Portal{
		Realm: cred.RealmFunc(func(
			_ context.Context, id cred.AvatarID, _ any,
		) (any, func(), error) {
			return &Desk{id}, func() { fmt.Println(id, "left") }, nil
		}),
		Checkers: []cred.Checker{users},
	}
	ctx := context.Background()
	_, err = portal.Login(ctx, cred.UsernamePassword{Username: "ann", Password: "simsim"}, nil, nil)
	fmt.Println(errors.Is(err, cred.ErrUnauthorized))

	login, err := portal.Login(ctx,
		cred.UsernamePassword{Username: "ann", Password: "sesame"}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer login.Logout()
	fmt.Println(login.Avatar.(*Desk).Name, "sits down")
	// Output:
	// true
	// ann sits down
	// ann left
}

func ExamplePasswordFile() {
	folder, err := os.MkdirTemp("", "cred")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(folder) }()
	path := filepath.Join(folder, "users")

	phc, err := cred.Hash("sesame", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := cred.WriteEntry(path, "ann", phc); err != nil {
		fmt.Println(err)
		return
	}
	file := &cred.PasswordFile{Path: path}
	fmt.Println(file.Load())
	id, err := file.Check(context.Background(),
		cred.UsernamePassword{Username: "ann", Password: "sesame"}, &cred.Peer{})
	fmt.Println(id, err)
	// Output:
	// <nil>
	// ann <nil>
}

func ExampleUIDChecker() {
	portal := &cred.Portal{
		Realm: cred.RealmFunc(func(
			_ context.Context, id cred.AvatarID, _ any,
		) (any, func(), error) {
			return &Desk{id}, nil, nil
		}),
		Checkers: []cred.Checker{&cred.UIDChecker{Accounts: map[uint32]cred.AvatarID{1000: "ann"}}},
	}
	// The connection's peer credentials (SO_PEERCRED) count; the UID in the message does not.
	peer := &cred.Peer{UID: 1000, HasUID: true}
	login, err := portal.Login(context.Background(), cred.PeerUID{UID: 0}, peer, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer login.Logout()
	fmt.Println(login.ID)
	// Output: ann
}

func ExampleAllowAny() {
	allow := cred.AllowAny(
		cred.AllowUIDs(0, 1000),
		cred.AllowKeys("mzuhvlpymk6xo3epygfy5h4oeaejofefn3rdhm4qfjmr2dk7fesq"),
	)
	fmt.Println(allow(context.Background(), &cred.Peer{UID: 1000, HasUID: true}))
	fmt.Println(allow(context.Background(), &cred.Peer{UID: 1001, HasUID: true}))
	// Output:
	// <nil>
	// cred: this peer is not on the list of those allowed
}

func ExamplePassword() {
	claim := cred.UsernamePassword{Username: "ann", Password: "sesame"}
	fmt.Printf("%+v\n", claim)
	// Output: {Username:"ann" Password:[hidden]}
}

// Command server lets the users of a password file in, each to an inbox of their own.
// It prints the URL for the client: server PASSWORDS KEY.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"

	"perspective/cred"
	"perspective/pb"
)

// An Inbox is the avatar of one account: what it may do once it has logged in.
type Inbox struct {
	pb.Avatar
	office *Office
	owner  cred.AvatarID
}

func (i *Inbox) PerspectiveSend(ctx context.Context, to, text string) error {
	return i.office.deliver(cred.AvatarID(to), fmt.Sprintf("%s: %s", i.owner, text))
}

func (i *Inbox) PerspectiveRead(ctx context.Context) ([]string, error) {
	return i.office.take(i.owner), nil
}

// An Office is the realm: it makes the inbox of an account at each login.
type Office struct {
	mu    sync.Mutex
	users map[cred.AvatarID]int // logins that have not ended
	mail  map[cred.AvatarID][]string
}

func (o *Office) RequestAvatar(
	ctx context.Context, id cred.AvatarID, mind any,
) (any, func(), error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.users[id]++
	logout := func() { // called once, however the login ends
		o.mu.Lock()
		defer o.mu.Unlock()
		o.users[id]--
	}
	return &Inbox{office: o, owner: id}, logout, nil
}

func (o *Office) deliver(to cred.AvatarID, text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users[to] == 0 {
		return fmt.Errorf("%s is not here", to)
	}
	o.mail[to] = append(o.mail[to], text)
	return nil
}

func (o *Office) take(id cred.AvatarID) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	mail := o.mail[id]
	delete(o.mail, id)
	return mail
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: server PASSWORDS KEY")
	}
	key, err := pb.LoadKey(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	office := &Office{users: map[cred.AvatarID]int{}, mail: map[cred.AvatarID][]string{}}
	node := &pb.Node{
		Key: key,
		Portal: &cred.Portal{
			Realm:    office,
			Checkers: []cred.Checker{&cred.PasswordFile{Path: os.Args[1]}},
		},
	}
	ln, err := node.Listen("pb://127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(node.URLOf(ln))
	log.Fatal(node.Serve(ln))
}

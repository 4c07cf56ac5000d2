package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"perspective/cred"
	"perspective/pb"
)

const dialHelp = `URL is one of
   pb://NODEID@host:port/   TLS; the peer must have that node id
   pb://host:port/          TLS; the web's authorities must vouch for the host
   pb+tcp://host:port/      plain
   pb+unix:///path          a unix socket
The port may be left out, it is 8787 then.

Calls go to the peer's root object, or after a login (--user) to the avatar of
that user. The password is asked for on the terminal, or is the first line of
--password-file or of standard input. It is never an argument.`

// dialFlags are what every command that dials understands.
func dialFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "user", Usage: "log in as `NAME`"},
		&cli.StringFlag{Name: "password-file",
			Usage: "read the password from the first line of `FILE`"},
		&cli.StringFlag{Name: "key", Usage: "show the peer the node key in `FILE`, see pb id"},
		&cli.DurationFlag{
			Name:  "timeout",
			Usage: "give up after `TIME`, such as 10s; 0: never",
			Value: 30 * time.Second,
		},
	}
}

// A session is a connection and the object on it that the user means. It ends
// with close.
type session struct {
	node   *pb.Node
	conn   *pb.Conn
	object *pb.RemoteReference
}

// sent counts the calls that were handed to the connection to be written.
func (s *session) sent() uint64 { return s.conn.Stats().Sent }

func (s *session) close() { _ = s.node.Close() }

// limited is ctx with the end that --timeout says.
func limited(ctx context.Context, c *cli.Command) (context.Context, context.CancelFunc) {
	if limit := c.Duration("timeout"); limit > 0 {
		return context.WithTimeout(ctx, limit)
	}
	return context.WithCancel(ctx)
}

// meet gets the password if there is a login, then connects and logs in. The ctx
// that it returns has the time limit, which rules what follows too.
func meet(
	ctx context.Context, c *cli.Command, url string,
) (*session, context.Context, context.CancelFunc, error) {
	if _, err := pb.ParseURL(url); err != nil {
		return nil, nil, nil, &exitError{exitUsage, err}
	}
	if c.Duration("timeout") < 0 {
		return nil, nil, nil, usage("%s: wrong --timeout: want 0 or more", c.Name)
	}
	node := &pb.Node{Logger: slog.New(slog.DiscardHandler)}
	if file := c.String("key"); file != "" {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, nil, nil, usage("there is no key file %s; pb id %s makes one", file, file)
		}
		key, err := pb.LoadKey(file)
		if err != nil {
			return nil, nil, nil, &exitError{exitUsage, err}
		}
		node.Key = key
	}
	var credentials cred.Credentials
	if user := c.String("user"); user != "" {
		password, err := readPassword(ctx, c, false)
		if err != nil {
			return nil, nil, nil, err
		}
		credentials = cred.UsernamePassword{Username: user, Password: password}
	} else if c.String("password-file") != "" {
		return nil, nil, nil, usage("--password-file is for a login: name the user with --user")
	}
	ctx, cancel := limited(ctx, c)
	s := &session{node: node}
	if err := s.connect(ctx, url, credentials); err != nil {
		cancel()
		s.close()
		return nil, nil, nil, err
	}
	return s, ctx, cancel, nil
}

func (s *session) connect(
	ctx context.Context, url string, credentials cred.Credentials,
) (err error) {
	if s.conn, err = s.node.Dial(ctx, url); err != nil {
		return notSent(err)
	}
	if s.object = s.conn.Root(); credentials == nil {
		return nil
	}
	before := s.sent()
	s.object, err = s.conn.Login(ctx, credentials, nil)
	return s.asked(err, before)
}

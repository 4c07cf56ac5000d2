// Package board has objects of every shape that pb gen writes code for.
package board

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"perspective/jelly"
	"perspective/pb"
)

//go:generate go run perspective/cmd/pb gen -type Board,Topic,Member,Clock

// A Post is what stands on a Board.
type Post struct {
	Author, Text string
	At           time.Time
}

func init() { jelly.Register[Post]("board.Post") }

// A Board holds posts.
type Board struct {
	pb.Referenceable

	posts []Post
	topic *Topic
}

// RemotePost adds a post and returns how many there are.
func (b *Board) RemotePost(_ context.Context, author, text string) (int, error) {
	b.posts = append(b.posts, Post{Author: author, Text: text})
	return len(b.posts), nil
}

// RemoteAdd adds posts.
func (b *Board) RemoteAdd(_ context.Context, posts ...Post) error {
	b.posts = append(b.posts, posts...)
	return nil
}

// RemoteList returns the posts.
func (b *Board) RemoteList(context.Context) ([]Post, error) { return b.posts, nil }

// RemoteClear removes the posts.
func (b *Board) RemoteClear(context.Context) error {
	b.posts = nil
	return nil
}

// RemoteFind returns the posts of an author between two times, at most limit of them, and calls the
// package's name ctx.
func (b *Board) RemoteFind(
	_ context.Context, time, pb string, from, to time.Duration, limit int,
) (map[string]Post, error) {
	return map[string]Post{fmt.Sprint(time, pb, from, to, limit): {}}, nil
}

// RemoteTopic returns an object.
func (b *Board) RemoteTopic(context.Context) (*Topic, error) {
	if b.topic == nil {
		b.topic = &Topic{name: "go"}
	}
	return b.topic, nil
}

// RemoteTopics returns objects.
func (b *Board) RemoteTopics(ctx context.Context) ([]*Topic, error) {
	t, err := b.RemoteTopic(ctx)
	return []*Topic{t}, err
}

// RemoteName takes an object that was returned before.
func (b *Board) RemoteName(_ context.Context, t *Topic) (string, error) { return t.name, nil }

// RemoteLater returns a Deferred.
func (b *Board) RemoteLater(_ context.Context, n int) *pb.Deferred[int] { return pb.Succeed(n) }

// RemoteMaybe returns a Deferred, or an error.
func (b *Board) RemoteMaybe(_ context.Context, n *pb.Deferred[int]) (*pb.Deferred[*Topic], error) {
	return pb.Then(n, func(int) (*Topic, error) { return &Topic{name: "later"}, nil }), nil
}

// RemoteTell calls an object of the caller's.
func (b *Board) RemoteTell(
	ctx context.Context, who *pb.RemoteReference, also pb.Target,
) (string, error) {
	a, err := pb.Do[string](ctx, who, "Name")
	if err != nil {
		return "", err
	}
	c, err := pb.Do[string](ctx, also, "Name")
	return a + c, err
}

// RemoteUpload takes a byte stream and returns one.
func (b *Board) RemoteUpload(_ context.Context, name string, r io.ReadCloser) (io.Reader, error) {
	all, err := io.ReadAll(r)
	return pb.Reader(strings.NewReader(name + string(all))), err
}

// A Topic is an object whose methods get the caller's avatar.
type Topic struct {
	pb.Referenceable
	pb.Viewable

	name string
}

// RemoteName returns the name.
func (t *Topic) RemoteName(context.Context) (string, error) { return t.name, nil }

// ViewRename changes the name.
func (t *Topic) ViewRename(_ context.Context, m *Member, name string) error {
	t.name = m.name + name
	return nil
}

// ViewOwn reports whether m may rename the topic.
func (t *Topic) ViewOwn(_ context.Context, m *Member) (bool, error) { return m != nil, nil }

// A Member is an avatar.
type Member struct {
	pb.Avatar

	name string
}

// PerspectiveWho_am_I returns the name.
func (m *Member) PerspectiveWho_am_I(context.Context) (string, error) { return m.name, nil }

// Perspective2 has no name of its own.
func (m *Member) Perspective2(context.Context) (int, error) { return 2, nil }

// A Clock is lent.
type Clock interface {
	Now(ctx context.Context) (time.Time, error)
	Set(ctx context.Context, t time.Time, why string) error
	Sum(ctx context.Context, n ...int) (int, error)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	boards "perspective/cmd/pb/testdata/gen/board"
	"perspective/pb"
	"perspective/pb/pbtest"
)

const boardDir = "testdata/gen/board"

// TestGenGolden holds what is written for testdata/gen/board, which other tests compile and use.
func TestGenGolden(t *testing.T) {
	source, err := genSource(t.Context(), boardDir,
		[]string{"Board", "Topic", "Member", "Clock"}, "board_pb.go")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(boardDir, "board_pb.go")
	if flag.Lookup("update").Value.String() == "true" { // pbtest's flag
		if err := os.WriteFile(file, source, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(source, want) {
		t.Errorf("pb gen writes for %s:\n%s\nrun this test with -update if that is what it "+
			"should write", boardDir, source)
	}
}

func TestGenRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("loads a package with the compiler; TestGenGolden does it once")
	}
	p, err := loadPackage(t.Context(), "testdata/gen/wrong", "wrong_pb.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Missing":   "no such type",
		"hidden":    "not exported",
		"Number":    "embeds neither",
		"Plain":     "embeds neither",
		"Silent":    "no method for peers",
		"Empty":     "without exported methods",
		"Generic":   "generic",
		"Alias":     "an alias",
		"NoContext": "method RemoteGet: its first parameter must be a context.Context",
		"NoError":   "method RemoteGet: its results must be",
		"NoAvatar":  "method ViewGet: its second parameter must be the avatar",
		"Channel":   "method RemoteGet: parameter 2, map[string]chan int, cannot cross",
		"Twins":     "RemoteGetAll and RemoteGet_all have one name",
		"Later":     "the client would have GetLater twice, for RemoteGet and RemoteGetLater",
		"Nameless":  "method Get: parameter 1, struct{X int; Y int}, has no name",
		"Taken":     "TakenClient is declared already",
	} {
		if _, err := p.find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("type %s: %v, want %q", name, err, want)
		}
	}
}

func TestGenCommandLine(t *testing.T) {
	if testing.Short() {
		t.Skip("loads packages with the compiler; TestGenGolden does it once")
	}
	empty := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"pb", "gen"}, exitUsage, "type"},
		{[]string{"pb", "gen", "-type", "Board", "a", "b"}, exitUsage, "usage: pb gen"},
		{[]string{"pb", "gen", "-type", "Board", "-out", "../x.go"}, exitUsage, "--out"},
		{[]string{"pb", "gen", "-type", "Board", "-out", "x.txt"}, exitUsage, "--out"},
		{[]string{"pb", "gen", "-type", "Borad", boardDir}, exitFailed, "pb: gen: type Borad: "},
		{[]string{"pb", "gen", "-type", "Board", empty}, exitFailed, "pb: gen: "},
		{[]string{"pb", "gen", "-type", "Board", filepath.Join(empty, "none")},
			exitFailed, "pb: gen: "},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), c.args, nil, io.Discard, &stderr); code != c.code ||
			!strings.Contains(stderr.String(), c.want) {
			t.Errorf("%q = %d, %q, want %d, %q", c.args, code, &stderr, c.code, c.want)
		}
	}
}

// The lines that the documents tell users to write.
const (
	docRequire  = "go mod edit -replace perspective=DIR && go get perspective/pb@v0.0.0"
	docGetTool  = "go get -tool perspective/cmd/pb"
	docGenerate = "//go:generate go tool pb gen -type "
)

const greeter = `package main

import (
	"context"
	"fmt"
	"net"

	"perspective/pb"
)

` + docGenerate + `Greeter

type Greeter struct{ pb.Referenceable }

func (*Greeter) RemoteGreet(_ context.Context, s string) (string, error) { return "hi, " + s, nil }
func (*Greeter) RemoteForget(_ context.Context, name string) error      { return nil }
func (*Greeter) RemoteSum(_ context.Context, n ...int) (int, error)     { return len(n), nil }
func (*Greeter) RemoteLater(_ context.Context, n int) *pb.Deferred[int] { return pb.Succeed(n) }

func main() {
	ctx := context.Background()
	a, b := net.Pipe()
	server, client := &pb.Node{Root: &Greeter{}}, &pb.Node{}
	if _, err := server.Attach(ctx, a, pb.Acceptor); err != nil {
		panic(err)
	}
	c, err := client.Attach(ctx, b, pb.Dialer)
	if err != nil {
		panic(err)
	}
	fmt.Println(NewGreeterClient(c.Root()).Greet(ctx, "ann"))
}
`

// TestGenInModule does in a module of its own, word for word, what the documents say: it comes to
// the broker, and its program is generated, although it has calls of code that is not written yet,
// and runs.
func TestGenInModule(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	for file, lines := range map[string][]string{
		"../../README.md":   {docRequire},
		"../../docs/gen.md": {docGetTool, docGenerate + "Board"},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(text), line+"\n") {
				t.Errorf("%s lacks the line that is tested here: %s", file, line)
			}
		}
	}
	if !strings.Contains(genHelp, docGetTool+"\n") ||
		!strings.Contains(genHelp, docGenerate+"Board\n") {
		t.Errorf("the help of pb gen has other lines than are tested here:\n%s", genHelp)
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := greeterModule(t)
	for line := range strings.SplitSeq(strings.Replace(docRequire, "DIR", repo, 1)+" && "+
		docGetTool, " && ") {
		out, err := goIn(t, dir, strings.Fields(line)[1:]...)
		if strings.Contains(out, "disabled by GOPROXY=off") {
			lacking(t, line+": the module cache lacks what it needs: "+out)
		}
		if err != nil {
			t.Fatalf("%s: %v, %s", line, err, out)
		}
	}
	for range 2 { // the second time over the file of the first
		if out, err := goIn(t, dir, "generate"); err != nil {
			t.Fatalf("go generate: %v, %s", err, out)
		}
	}
	if out, err := goIn(t, dir, "run", "."); out != "hi, ann <nil>\n" || err != nil {
		t.Errorf("the program prints %q, %v", out, err)
	}
}

// TestEmptyModule begins as a newcomer does, with a module that has no program yet, and follows the
// README.
func TestEmptyModule(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for line := range strings.SplitSeq("go mod init example.com/empty && "+
		strings.Replace(docRequire, "DIR", repo, 1), " && ") {
		out, err := goIn(t, dir, strings.Fields(line)[1:]...)
		if strings.Contains(out, "disabled by GOPROXY=off") {
			lacking(t, line+": the module cache lacks what it needs: "+out)
		}
		if err != nil {
			t.Fatalf("%s: %v, %s", line, err, out)
		}
	}
	program, err := os.ReadFile("../../examples/bank/main.go") // that the README quotes
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), program, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := goIn(t, dir, "run", "."); out != "150 <nil>\n" || err != nil {
		t.Errorf("the program prints %q, %v", out, err)
	}
}

// TestGenStale has methods change behind the back of what was generated: the compiler tells.
func TestGenStale(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := greeterModule(t)
	work := "go 1.26.0\n\nuse (\n\t.\n\t" + repo + "\n)\n"
	if err := os.WriteFile(filepath.Join(dir, "go.work"), []byte(work), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"pb", "gen", "-type", "Greeter", dir}, nil,
		io.Discard, &stderr); code != exitDone {
		t.Fatalf("pb gen = %d, %s", code, &stderr)
	}
	if out, err := goIn(t, dir, "build", "-o", os.DevNull, "."); err != nil {
		t.Fatalf("go build: %v, %s", err, out)
	}
	for _, c := range []struct{ what, old, changed string }{
		{"argument",
			`RemoteGreet(_ context.Context, s string) (string, error) { return "hi, " + s, nil }`,
			`RemoteGreet(_ context.Context, s any) (string, error) { return "", nil }`},
		{"result", `(string, error) { return "hi, " + s, nil }`,
			`(any, error) { return s, nil }`},
		{"no result", `(string, error) { return "hi, " + s, nil }`, `error { return nil }`},
		{"removed", `RemoteGreet`, `Greet`},
		{"argument of a Proc", `RemoteForget(_ context.Context, name string)`,
			`RemoteForget(_ context.Context, name []byte)`},
		{"argument of a variadic method", `n ...int`, `n ...any`},
		{"argument around",
			`RemoteLater(_ context.Context, n int) *pb.Deferred[int] { return pb.Succeed(n) }`,
			`RemoteLater(_ context.Context, n any) *pb.Deferred[int] { return pb.Succeed(1) }`},
	} {
		changed := strings.Replace(greeter, c.old, c.changed, 1)
		if changed == greeter {
			t.Fatalf("%s: nothing changes", c.what)
		}
		if err := os.WriteFile(filepath.Join(dir, "greeter.go"),
			[]byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := goIn(t, dir, "build", "-o", os.DevNull, "."); err == nil ||
			!strings.Contains(out, "greeter_pb.go:") || strings.Contains(out, "greeter.go:") {
			t.Errorf("%s: go build = %v, %s, want that the compiler complains of greeter_pb.go "+
				"alone", c.what, err, out)
		}
	}
}

// greeterModule makes a module with the source of greeter, as a user has it.
func greeterModule(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"go.mod": "module greet.example/greet\n\ngo 1.26.0\n",
		"greeter.go": greeter} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goIn runs the go command in dir, with the modules that are on this machine; where all must be
// there, it fetches what is not.
func goIn(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	if os.Getenv("PERSPECTIVE_REQUIRE") != "1" {
		cmd.Env = append(cmd.Env, "GOPROXY=off", "GOSUMDB=off")
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// caller is an object of the caller's that the board calls.
type caller struct {
	pb.Referenceable
	name string
}

func (c *caller) RemoteName(context.Context) (string, error) { return c.name, nil }

// TestGenClient uses the generated client and adaptors over a connection.
func TestGenClient(t *testing.T) {
	ctx := t.Context()
	b := boards.NewBoardClient(pbtest.Connect(t, &boards.Board{}))
	if n, err := b.Post(ctx, "ann", "hello"); n != 1 || err != nil {
		t.Errorf("Post = %v, %v", n, err)
	}
	if n, err := b.PostLater(ctx, "bob", "hello").Wait(ctx); n != 2 || err != nil {
		t.Errorf("PostLater = %v, %v", n, err)
	}
	if err := b.Add(ctx, boards.Post{Author: "cy"}, boards.Post{Author: "di"}); err != nil {
		t.Errorf("Add = %v", err)
	}
	if posts, err := b.List(ctx); len(posts) != 4 || posts[3].Author != "di" || err != nil {
		t.Errorf("List = %v, %v", posts, err)
	}
	if found, err := b.Find(ctx, "a", "b", time.Second, time.Minute, 3); len(found) != 1 ||
		err != nil {
		t.Errorf("Find = %v, %v", found, err)
	}
	topic := b.TopicLater(ctx)
	if name, err := boards.NewTopicClient(topic).Name(ctx); name != "go" || err != nil {
		t.Errorf("Name of a topic not there yet = %q, %v", name, err)
	}
	if name, err := b.Name(ctx, topic); name != "go" || err != nil {
		t.Errorf("Name = %q, %v", name, err)
	}
	if topics, err := b.Topics(ctx); len(topics) != 1 || err != nil {
		t.Errorf("Topics = %v, %v", topics, err)
	}
	later, err := b.Maybe(ctx, b.LaterLater(ctx, 3))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := b.Tell(ctx, &caller{name: "ann"}, &caller{name: "bob"}); name != "annbob" ||
		err != nil {
		t.Errorf("Tell = %q, %v", name, err)
	}
	if err := boards.NewTopicClient(later).Rename(ctx, "x"); !errors.Is(err, pb.ErrNoAvatar) {
		t.Errorf("Rename by a stranger = %v", err)
	}
	if err := b.Clear(ctx); err != nil {
		t.Errorf("Clear = %v", err)
	}
	r, err := b.Upload(ctx, "a", strings.NewReader("bc"))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(r); string(all) != "abc" || err != nil {
		t.Errorf("Upload = %q, %v", all, err)
	}
}

package pb_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"perspective/cred"
	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// The examples of docs/objects.md, in its order. What is quoted there stands
// here as it is.

// Item crosses by copy: it is registered.
type Item struct {
	Name  string
	Price int
}

func init() { jelly.Register[Item]("shop.Item") }

var ErrSoldOut = errors.New("shop: sold out")

func init() { pb.RegisterError("shop.SoldOut", ErrSoldOut) }

// Shop crosses by reference: it embeds a flavour.
type Shop struct {
	pb.Referenceable
	stock map[string]int
}

func (s *Shop) RemoteLookUp(ctx context.Context, name string) (Item, error) {
	return Item{Name: name, Price: len(name)}, nil
}

func (s *Shop) RemoteBuy(ctx context.Context, name string) (*Order, error) {
	if s.stock[name] == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrSoldOut)
	}
	s.stock[name]--
	return &Order{name: name}, nil
}

// Order crosses by reference too; each call of Buy makes a new one.
type Order struct {
	pb.Referenceable
	name string
}

func (o *Order) RemoteWrap(ctx context.Context, paper string) (string, error) {
	return o.name + " in " + paper, nil
}

func (o *Order) RemoteCancelled(ctx context.Context, by pb.Target) error {
	_, err := pb.Do[any](ctx, by, "tell", "refund for "+o.name)
	return err
}

// Customer is an object of the caller's.
type Customer struct{ pb.Referenceable }

func (c *Customer) RemoteTell(ctx context.Context, what string) error {
	fmt.Println("told:", what)
	return nil
}

// openShop connects a caller to a shop.
func openShop(stock map[string]int) (*pb.Conn, func()) { return connect(&Shop{stock: stock}) }

// connect connects a caller to any root.
func connect(root any) (*pb.Conn, func()) {
	return attach(&pb.Node{Root: root, Logger: slog.New(slog.DiscardHandler)})
}

// A value of a registered type is copied; an object is lent.
func Example_values() {
	conn, done := openShop(map[string]int{"tea": 1})
	defer done()
	ctx := context.Background()

	item, err := pb.Do[Item](ctx, conn.Root(), "lookUp", "tea")
	fmt.Println(item, err)

	order, err := pb.Do[*pb.RemoteReference](ctx, conn.Root(), "buy", "tea")
	fmt.Println(order != nil, err)
	// Output:
	// {tea 3} <nil>
	// true <nil>
}

// An object of the caller's is an argument like any other.
func Example_callbacks() {
	conn, done := openShop(map[string]int{"tea": 1})
	defer done()
	ctx := context.Background()

	order := pb.Call[*pb.RemoteReference](ctx, conn.Root(), "buy", "tea")
	_, err := pb.Do[any](ctx, order, "cancelled", &Customer{})
	fmt.Println(err)
	// Output:
	// told: refund for tea
	// <nil>
}

// What is not offered can not be called, and near names are told.
func ExampleNoSuchMethodError() {
	conn, done := openShop(nil)
	defer done()

	_, err := pb.Do[any](context.Background(), conn.Root(), "lookup_item")
	var none *pb.NoSuchMethodError
	fmt.Println(errors.As(err, &none), none.Near)
	// Output: true [LookUp]
}

// The ctx of the call travels with it.
func ExampleDo() {
	conn, done := openShop(map[string]int{"tea": 1})
	defer done()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// The method has 5 s, less the way there.
	item, err := pb.Do[Item](ctx, conn.Root(), "lookUp", "tea")
	fmt.Println(item.Price, err)
	// Output: 3 <nil>
}

// Offer crosses by copy and carries an object: the field's type is any, for one
// side holds the object and the other a reference to it.
type Offer struct {
	Item  Item
	Order any // *Order where it was made, *pb.RemoteReference where it arrived
}

func init() { jelly.Register[Offer]("shop.Offer") }

// Accept calls the order, whichever side it is on.
func (o Offer) Accept(ctx context.Context, paper string) (string, error) {
	switch order := o.Order.(type) {
	case *Order:
		return order.RemoteWrap(ctx, paper)
	case pb.Target:
		return pb.Do[string](ctx, order, "wrap", paper)
	}
	return "", errors.New("shop: the offer has no order")
}

func (s *Shop) RemoteOffer(ctx context.Context, name string) (Offer, error) {
	return Offer{Item: Item{Name: name, Price: len(name)}, Order: &Order{name: name}}, nil
}

// A copied struct takes its objects along, as references.
func Example_structWithAnObject() {
	conn, done := openShop(nil)
	defer done()
	ctx := context.Background()

	offer, err := pb.Do[Offer](ctx, conn.Root(), "offer", "tea")
	fmt.Println(offer.Item.Price, err)
	fmt.Println(offer.Accept(ctx, "silk"))
	// Output:
	// 3 <nil>
	// tea in silk <nil>
}

// buyAndWrap is what an inlineCallbacks function is here: a function that waits.
func buyAndWrap(ctx context.Context, shop pb.Target, name string) (string, error) {
	// order = yield shop.callRemote("buy", name)
	order, err := pb.Do[*pb.RemoteReference](ctx, shop, "buy", name)
	if errors.Is(err, ErrSoldOut) { // except SoldOut:
		return "nothing", nil
	}
	if err != nil {
		return "", err
	}
	// return (yield order.callRemote("wrap", "silk"))
	return pb.Do[string](ctx, order, "wrap", "silk")
}

// A caller that needs a Deferred of such a function gets it from pb.Go.
func Example_inlineCallbacks() {
	conn, done := openShop(map[string]int{"tea": 1})
	defer done()
	ctx := context.Background()

	tea := pb.Go(ctx, func(ctx context.Context) (string, error) {
		return buyAndWrap(ctx, conn.Root(), "tea")
	})
	fmt.Println(tea.Wait(ctx))
	fmt.Println(buyAndWrap(ctx, conn.Root(), "tea"))
	// Output:
	// tea in silk <nil>
	// nothing <nil>
}

// A Blackboard notifies its observers. Calls over all connections take turns.
type Blackboard struct {
	pb.Referenceable
	pb.Serial
	viewers map[*pb.RemoteReference]bool
}

func (b *Blackboard) RemoteWatch(ctx context.Context, viewer *pb.RemoteReference) error {
	b.viewers[viewer] = true
	return nil
}

func (b *Blackboard) RemoteWrite(ctx context.Context, line string) error {
	for viewer := range b.viewers {
		select {
		case <-viewer.Done(): // its connection has ended
			delete(b.viewers, viewer)
		default:
			// A Call would be cancelled with ctx, when this method returns.
			_ = viewer.Send(ctx, "changed", line)
		}
	}
	return nil
}

// Viewer is told of lines.
type Viewer struct {
	pb.Referenceable
	lines chan string
}

func (v *Viewer) RemoteChanged(ctx context.Context, line string) error {
	v.lines <- line
	return nil
}

// The owner of some state calls its observers.
func Example_observer() {
	conn, done := connect(&Blackboard{viewers: map[*pb.RemoteReference]bool{}})
	defer done()
	ctx := context.Background()

	viewer := &Viewer{lines: make(chan string, 1)}
	pb.Call[any](ctx, conn.Root(), "watch", viewer)
	pb.Call[any](ctx, conn.Root(), "write", "two and two are four")
	fmt.Println(<-viewer.lines)
	// Output: two and two are four
}

// Register keeps its state behind turns: no lock.
type Register struct {
	pb.Referenceable
	total int
}

func (r *Register) RemoteAdd(ctx context.Context, n int) (int, error) {
	r.total += n // calls over one connection come here one after another
	return r.total, nil
}

// Calls to one object over one connection start in order.
func Example_turns() {
	conn, done := connect(&Register{})
	defer done()
	ctx := context.Background()

	var last *pb.Deferred[int]
	for range 100 {
		last = pb.Call[int](ctx, conn.Root(), "add", 1) // nobody waits
	}
	fmt.Println(last.Wait(ctx))
	// Output: 100 <nil>
}

// Callbacks run when the result is there.
func ExampleCall() {
	conn, done := openShop(nil)
	defer done()
	ctx := context.Background()

	coffee := pb.Call[Item](ctx, conn.Root(), "lookUp", "coffee")
	price := pb.Then(coffee, func(i Item) (int, error) {
		return i.Price * 2, nil
	})
	fmt.Println(price.Wait(ctx))
	// Output: 12 <nil>
}

// A call on a result that is not there yet leaves at once.
func Example_pipelining() {
	conn, done := openShop(map[string]int{"tea": 1})
	defer done()
	ctx := context.Background()

	order := pb.Call[*pb.RemoteReference](ctx, conn.Root(), "buy", "tea")
	fmt.Println(pb.Do[string](ctx, order, "wrap", "silk"))

	broken := pb.Call[*pb.RemoteReference](ctx, conn.Root(), "buy", "tea")
	_, err := pb.Do[string](ctx, broken, "wrap", "silk")
	fmt.Println(errors.Is(err, ErrSoldOut))
	// Output:
	// tea in silk <nil>
	// true
}

// Every error tells whether the method has run.
func ExampleOutcomeOf() {
	conn, done := openShop(nil)
	defer done()
	ctx := context.Background()

	_, err := pb.Do[any](ctx, conn.Root(), "buy", "tea")
	fmt.Println("refused by the method:", pb.OutcomeOf(err))
	_, err = pb.Do[any](ctx, conn.Root(), "buy", 1, 2, 3)
	fmt.Println("wrong arguments:", pb.OutcomeOf(err))
	_ = conn.Close()
	_, err = pb.Do[any](ctx, conn.Root(), "buy", "tea")
	fmt.Println("no connection:", pb.OutcomeOf(err))
	// Output:
	// refused by the method: executed
	// wrong arguments: not executed
	// no connection: not executed
}

// A registered error is itself on the other side.
func ExampleRegisterError() {
	conn, done := openShop(nil)
	defer done()

	_, err := pb.Do[any](context.Background(), conn.Root(), "buy", "tea")
	fmt.Println(errors.Is(err, ErrSoldOut))
	// Output: true
}

// Release gives an object up before the collector does.
func ExampleRemoteReference_Release() {
	conn, done := openShop(map[string]int{"tea": 1})
	defer done()
	ctx := context.Background()

	order, err := pb.Do[*pb.RemoteReference](ctx, conn.Root(), "buy", "tea")
	if err != nil {
		fmt.Println(err)
		return
	}
	order.Release()
	_, err = pb.Do[string](ctx, order, "wrap", "silk")
	fmt.Println(pb.OutcomeOf(err))
	// Output: not executed
}

// Account is an avatar: what an account may do once it has logged in.
type Account struct {
	pb.Avatar
	name cred.AvatarID
}

func (a *Account) PerspectiveWhoAmI(ctx context.Context) (string, error) {
	return string(a.name), nil
}

// A peer logs in to a Portal and gets its avatar.
func ExampleConn_Login() {
	users, err := cred.HashInMemory(map[string]cred.Password{"ann": "secret"},
		&cred.HashParams{Time: 1, MemoryKiB: 8 << 10, Threads: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &pb.Node{Portal: &cred.Portal{
		Checkers: []cred.Checker{users},
		Realm: cred.RealmFunc(func(
			ctx context.Context, id cred.AvatarID, mind any,
		) (any, func(), error) {
			return &Account{name: id}, func() {}, nil
		}),
	}}
	conn, done := attach(server)
	defer done()
	ctx := context.Background()

	me, err := conn.Login(ctx, cred.UsernamePassword{Username: "ann", Password: "secret"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pb.Do[string](ctx, me, "whoAmI"))
	// Output: ann <nil>
}

// attach makes a caller's connection to server.
func attach(server *pb.Node) (*pb.Conn, func()) {
	client := &pb.Node{}
	a, b := pbtest.Pipe()
	_, err1 := server.Attach(context.Background(), b, pb.Acceptor)
	c, err2 := client.Attach(context.Background(), a, pb.Dialer)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	return c, func() {
		_ = client.Close()
		_ = server.Close()
	}
}

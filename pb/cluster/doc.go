// Package cluster lets nodes find each other and each other's services. A node
// that joins registers objects under names; a node that needs one asks for the
// name and gets a [pb.Target] that reaches some node which provides it now, and
// another one when that dies.
//
// The smallest cluster is two programs on one machine:
//
//	a := &cluster.Cluster{Bind: "127.0.0.1:7946", Node: &pb.Node{Key: key}}
//	err := a.Start(ctx)
//	err = a.Register("clock", &Clock{})
//
//	b := &cluster.Cluster{Join: []string{a.Addr()}}
//	err := b.Start(ctx)
//	now, err := pb.Do[time.Time](ctx, b.Service("clock"), "now")
//
// # Trust
//
// Members announce themselves and pass on what they heard by gossip (memberlist, a SWIM protocol).
// An entry is a hint where to dial, nothing more. Each member signs its own entry with its node's
// key, and the provider that answers a call has proved by TLS that it holds the key of the node
// that was meant. An entry that names another node's address leads to a connection that fails, and
// to the next provider.
//
// The gossip key is what makes a node a member: a node that knows it can join, register any service
// that [Cluster.Trust] does not deny, and be given those of others. Without a key a cluster keeps
// to the machine, where every process can join.
//
// # What happens when a provider dies
//
// A [pb.Target] that Service gave stays with the provider it has reached, so
// calls over it keep their order. When the connection ends, the calls in flight
// fail, and [pb.OutcomeOf] says what became of each: none of them is made again
// by this package. The next call goes to another provider; it waits for one,
// as long as its ctx lives, if there is none.
package cluster

package pb

import (
	"perspective/broker"
	"perspective/cred"
)

// MemoryOf is what n's connections share.
func MemoryOf(n *Node) *broker.Memory { return n.memory() }

// Boot is the peer's boot object, which users never see.
func Boot(c *Conn) *RemoteReference { return c.boot }

// CredentialsOnWire is c as it crosses.
func CredentialsOnWire(c cred.Credentials) any { return credentialsOnWire(c) }

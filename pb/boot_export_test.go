package pb

import "perspective/cred"

// Boot is the peer's boot object, which users never see.
func Boot(c *Conn) *RemoteReference { return c.boot }

// CredentialsOnWire is c as it crosses.
func CredentialsOnWire(c cred.Credentials) any { return credentialsOnWire(c) }

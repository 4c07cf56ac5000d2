package pb

// Boot is the peer's boot object, which users never see.
func Boot(c *Conn) *RemoteReference { return c.boot }

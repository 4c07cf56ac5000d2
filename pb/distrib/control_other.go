//go:build !linux

package distrib

// control has no working form here: no descriptor can be handed over.
type control struct{}

func (*control) send(message, int) error { return ErrUnsupported }

func (*control) sendSurely(message) error { return ErrUnsupported }

func (*control) receive(bool) (message, int, error) { return message{}, -1, ErrUnsupported }

func (*control) close() {}

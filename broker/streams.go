package broker

import "errors"

// streams is not here yet.
type streams struct{ b *Broker }

func (s *streams) init(b *Broker)                   { s.b = b }
func (s *streams) payload(p []byte) error           { return errors.New("no streams") }
func (s *streams) frame(h header, raw []byte) error { return errors.New("no streams") }
func (s *streams) pong(h header) error              { return nil }
func (s *streams) stopped(id uint64)                {}
func (s *streams) end(err error)                    {}
func (s *streams) count() int                       { return 0 }

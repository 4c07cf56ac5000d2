package harness

import (
	"fmt"
	"math"
	"time"
)

// A chain is as long as this, over a link that holds everything back for as
// long as this each way. One round trip is chainTrip in milliseconds.
const (
	chainDepth = 8
	linkDelay  = 5 * time.Millisecond
	chainTrip  = 10.
)

// through runs f while the client's newest connection leads through a proxy.
func (d *driver) through(p *pair, delay time.Duration, f func(*proxy) error) error {
	px, err := newProxy(p.dialer, d.address(p.net), delay)
	if err != nil {
		return err
	}
	defer px.close()
	open := p.openings
	open.Addr = px.addr
	if _, err := p.client.ask(&open, patience); err != nil {
		return err
	}
	// a dead child is seen at the next request
	defer func() { _, _ = p.client.ask(&request{Do: doPop}, patience) }()
	return f(px)
}

// chains measures chains of dependent calls on the first network.
func (d *driver) chains(round Round, pairs []*pair) {
	for _, p := range pairs {
		if p.net.Label != d.nets[0].Label {
			continue
		}
		err := d.through(p, linkDelay, func(*proxy) error {
			q := request{Do: doChain, Depth: chainDepth, Count: 1}
			// The least of a few counts: the waiting is the measurement, the rest is disturbance.
			least := math.Inf(1)
			for range 3 {
				r, err := p.client.ask(&q, patience)
				if err != nil {
					return err
				}
				least = min(least, r.Seconds*1e3)
			}
			round.set(p.net.Label, p.Name, "chain", least)
			return nil
		})
		if err != nil {
			d.note(p.Name, p.net.Label, wlChain, err)
		}
	}
}

// wire counts the bytes of calls on the first network, once: they do not
// change.
func (d *driver) wire(pairs []*pair) {
	for _, p := range pairs {
		if p.net.Label != d.nets[0].Label {
			continue
		}
		d.say("bytes: %s", p.Name)
		err := d.through(p, 0, func(px *proxy) error { return d.count(p, px) })
		if err != nil {
			d.note(p.Name, p.net.Label, wlWire, err)
		}
	}
}

func (d *driver) count(p *pair, px *proxy) error {
	for _, callers := range []int{1, 64} {
		const calls = 1000
		q := request{Do: doRun, Load: &Load{Payload: 64, Callers: callers, Calls: calls / 4}}
		if _, err := p.client.ask(&q, patience); err != nil {
			return err
		}
		settle()
		up, down := px.up.Load(), px.down.Load()
		q.Load.Calls = calls
		if _, err := p.client.ask(&q, patience); err != nil {
			return err
		}
		settle()
		d.samples[0].set(p.net.Label, p.Name, fmt.Sprintf("up%d", callers),
			float64(px.up.Load()-up)/calls)
		d.samples[0].set(p.net.Label, p.Name, fmt.Sprintf("down%d", callers),
			float64(px.down.Load()-down)/calls)
	}
	return nil
}

// settle lets what is under way arrive: nothing says when a system has no more
// to send.
func settle() { time.Sleep(20 * time.Millisecond) }

// idle opens many connections to a fresh server and sees what each costs it.
func (d *driver) idle() {
	if !d.wants(wlIdle) {
		return
	}
	n := d.nets[0]
	for _, c := range d.systems {
		if why := c.Skip[wlIdle]; why != "" {
			d.note(c.Name, n.Label, wlIdle, fmt.Errorf("%s", why))
			continue
		}
		d.say("idle connections: %s", c.Name)
		if err := d.idleOf(c, n); err != nil {
			d.note(c.Name, n.Label, wlIdle, err)
		}
	}
}

func (d *driver) idleOf(c *Contestant, n Network) error {
	p, err := d.start(c, n, d.Idle) // the connection that it opens pays for what is made once
	if err != nil {
		return err
	}
	defer p.close()
	var before, after [2]*Stats
	read := func(into *[2]*Stats) error {
		for i, q := range []*process{p.server, p.client} {
			r, err := q.ask(&request{Do: doStats, Settle: true}, patience)
			if err != nil {
				return err
			}
			into[i] = r.Stats
		}
		return nil
	}
	if err := read(&before); err != nil {
		return err
	}
	p.openings.Count = d.Idle
	if _, err := p.client.ask(&p.openings, 4*patience); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond) // what a system does after a call is over by then
	if err := read(&after); err != nil {
		return err
	}
	for i, side := range []string{"srv", "cli"} {
		s := after[i].since(before[i])
		for f, v := range map[string]int64{
			"rss":        s.RSS,
			"heap":       s.Heap,
			"stack":      s.Stack,
			"goroutines": s.Goroutines,
		} {
			d.samples[0].set(n.Label, c.Name, "idle."+f+side, float64(v)/float64(d.Idle))
		}
	}
	return nil
}

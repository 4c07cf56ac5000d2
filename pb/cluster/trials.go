package cluster

import (
	"sync"
	"time"
)

// forgiveAfter is how long a failure puts a provider behind the others.
const forgiveAfter = 10 * time.Second

// trials remembers which providers could not be reached lately, for all Targets of a cluster. Its
// keys are node ids, and trialOf for one service of a node. The zero value remembers nothing.
type trials struct {
	mu     sync.Mutex
	failed map[string]time.Time
}

// trialOf is the key for one service of a node.
func trialOf(nodeID, service string) string { return nodeID + "/" + service }

// fail remembers a failure, and forgets those that are forgiven.
func (t *trials) fail(key string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, at := range t.failed {
		if now.Sub(at) > forgiveAfter {
			delete(t.failed, k)
		}
	}
	if t.failed == nil {
		t.failed = make(map[string]time.Time)
	}
	t.failed[key] = now
}

// forgive forgets a failure.
func (t *trials) forgive(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.failed, key)
}

// lately gives when a node, or this service of it, failed; zero: not lately.
func (t *trials) lately(nodeID, service string, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.failed[nodeID]
	if at := t.failed[trialOf(nodeID, service)]; at.After(last) {
		last = at
	}
	if now.Sub(last) > forgiveAfter {
		return time.Time{}
	}
	return last
}

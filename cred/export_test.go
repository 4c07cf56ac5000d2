package cred

// CountHashes calls f with the parameters of each hash that a login at this Portal costs, just
// before it is computed and while its turn is held.
func (p *Portal) CountHashes(f func(HashParams)) { p.onHash = f }

// HashesRunning is how many turns of the hashing queue are taken.
func (p *Portal) HashesRunning() int {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	return p.queue.running
}

// ThrottleEntries is how many accounts and addresses are remembered.
func (p *Portal) ThrottleEntries() (accounts, addresses int) {
	p.throttle.mu.Lock()
	defer p.throttle.mu.Unlock()
	return len(p.throttle.accounts), len(p.throttle.addresses)
}

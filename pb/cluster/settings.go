package cluster

import (
	"bytes"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"perspective/cred"
	"perspective/internal/prefix"
	"perspective/pb"
)

// The defaults of a Cluster's fields.
const (
	// DefaultName is the name of a cluster that has no other.
	DefaultName = "perspective"
	// DefaultBind is where gossip is heard on this machine alone, at any port.
	DefaultBind = "127.0.0.1:0"
	// DefaultAttempt is the time for reaching one provider.
	DefaultAttempt = 5 * time.Second
	// DefaultWaiting is how many calls may wait for providers: about 4 MiB of them,
	// with small arguments.
	DefaultWaiting = 4096
	// GossipKeySize is the length of gossip keys in bytes.
	GossipKeySize = 32

	// rejoinEvery is how often addresses of Join that are no members are tried.
	rejoinEvery = 10 * time.Second
	// gossipTimeout bounds one exchange with one member.
	gossipTimeout = 5 * time.Second

	// A node that died is back at a new address as soon as it says so to the others: see
	// gossip.NotifyConflict. Where its clock has been set back, it is when they believe that the
	// old one is dead, and hear of the new one after that. memberlist's own times make that half a
	// minute; these make it three seconds, for up to ten members: a probe of each member by
	// another one every probeEvery, then suspicionMult times probeEvery (times the logarithm of the
	// number of members) for the suspect to object, with no wait for others to confirm it, then an
	// exchange of all entries, which each member begins every exchangeEvery with another one. A
	// member that was believed dead and lives is back with the next gossip, and keeps its
	// connections: see checkLink.
	probeEvery    = 500 * time.Millisecond
	probeTimeout  = 250 * time.Millisecond
	suspicionMult = 2
	exchangeEvery = time.Second
)

// loopback are the networks of a cluster without a gossip key.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("::1/128")}

// settings are a Cluster's fields when they have been checked and completed.
type settings struct {
	name     string
	bind     netip.AddrPort
	listen   string // a pb URL
	join     []seed
	networks []netip.Prefix // nil: all
	attempt  time.Duration
}

// seed is an address of Join.
type seed struct {
	nodeID string
	addr   netip.AddrPort
}

// String is the seed in memberlist's spelling.
func (s seed) String() string { return s.nodeID + "/" + s.addr.String() }

// settings checks the fields.
func (c *Cluster) settings() (settings, error) {
	s := settings{name: c.Name, listen: c.Listen, networks: c.Networks, attempt: c.Attempt}
	if s.name == "" {
		s.name = DefaultName
	}
	if !validName(s.name) {
		return s, fmt.Errorf("cluster: name %q: want 1 to %d letters, digits, dots, dashes or "+
			"underscores", s.name, maxName)
	}
	if s.attempt <= 0 {
		s.attempt = DefaultAttempt
	}
	bind := c.Bind
	if bind == "" {
		bind = DefaultBind
	}
	var err error
	if s.bind, err = literal(bind); err != nil {
		return s, prefix.Errorf("cluster: Bind: %w", err)
	}
	if s.listen == "" {
		s.listen = "pb://" + netip.AddrPortFrom(s.bind.Addr(), 0).String() + "/"
	}
	listen, err := pb.ParseURL(s.listen)
	if err != nil {
		return s, prefix.Errorf("cluster: Listen: %w", err)
	}
	if listen.Scheme != "pb" {
		return s, fmt.Errorf("cluster: Listen: %s proves no keys: use pb://", s.listen)
	}
	at, err := literal(listen.Host)
	if err != nil {
		return s, prefix.Errorf("cluster: Listen: %w", err)
	}
	for _, text := range c.Join {
		to, err := parseSeed(text)
		if err != nil {
			return s, prefix.Errorf("cluster: Join: %w", err)
		}
		s.join = append(s.join, to)
	}
	if err := c.checkKeys(&s); err != nil {
		return s, err
	}
	for _, own := range []netip.Addr{s.bind.Addr(), at.Addr()} {
		if !s.allows(own) {
			return s, fmt.Errorf("cluster: %v is in none of the networks %v that members may be in",
				own, s.networks)
		}
	}
	return s, nil
}

// checkKeys looks at the gossip keys, and keeps a cluster without one to the
// machine.
func (c *Cluster) checkKeys(s *settings) error {
	for _, k := range append([][]byte{c.GossipKey}, c.OtherKeys...) {
		if len(k) != GossipKeySize && (len(k) > 0 || len(c.OtherKeys) > 0) {
			return fmt.Errorf("cluster: a gossip key has %d bytes: it must have %d",
				len(k), GossipKeySize)
		}
	}
	if len(c.GossipKey) > 0 {
		return nil
	}
	outside := s.bind.Addr()
	for _, to := range s.join {
		if outside.IsLoopback() {
			outside = to.addr.Addr()
		}
	}
	if !outside.IsLoopback() {
		return fmt.Errorf(
			"cluster: %v is not this machine alone: set GossipKey, or anybody could join", outside)
	}
	s.networks = loopback
	return nil
}

// literal reads an address of one machine, without names to look up.
func literal(text string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return a, fmt.Errorf("%q: want IP:PORT, a literal address", text)
	}
	ip := a.Addr().Unmap()
	if ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
		return a, fmt.Errorf("%q: want an address that the other members can reach", text)
	}
	return netip.AddrPortFrom(ip, a.Port()), nil
}

// parseSeed reads NODEID@IP:PORT.
func parseSeed(text string) (seed, error) {
	id, host, found := strings.Cut(text, "@")
	if !found {
		return seed{}, fmt.Errorf("%q: want NODEID@IP:PORT, as Addr gives", text)
	}
	if _, err := cred.ParseNodeID(id); err != nil {
		return seed{}, err
	}
	a, err := literal(host)
	if err == nil && a.Port() == 0 {
		err = fmt.Errorf("%q: want a port", text)
	}
	return seed{id, a}, err
}

// allows says whether members may be at an address.
func (s *settings) allows(ip netip.Addr) bool {
	if len(s.networks) == 0 {
		return true
	}
	for _, p := range s.networks {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// gossipConfig is how memberlist is run.
func (s *settings) gossipConfig(
	nodeID string, ring *memberlist.Keyring, g *gossip, logger *slog.Logger,
) *memberlist.Config {
	config := memberlist.DefaultLANConfig()
	if s.bind.Addr().IsLoopback() {
		config = memberlist.DefaultLocalConfig()
	}
	config.Name = nodeID
	config.Label = s.name
	config.RequireNodeNames = true
	config.BindAddr = s.bind.Addr().String()
	config.BindPort = int(s.bind.Port())
	config.AdvertisePort = config.BindPort
	config.TCPTimeout = gossipTimeout
	config.ProbeInterval, config.ProbeTimeout, config.SuspicionMult = probeEvery,
		probeTimeout, suspicionMult
	config.PushPullInterval = exchangeEvery
	config.EnableCompression = false // entries are signatures and short names
	config.Keyring = ring
	// A node that died comes back with the same name, perhaps at another
	// address. Nobody else can: its entry is signed.
	config.DeadNodeReclaimTime = time.Millisecond
	for _, p := range s.networks {
		config.CIDRsAllowed = append(config.CIDRsAllowed, net.IPNet{
			IP:   p.Addr().AsSlice(),
			Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		})
	}
	config.Delegate, config.Events, config.Alive, config.Merge, config.Conflict = g, g, g, g, g
	lines := &gossipLog{logger: logger, enter: g.c.enter, leave: g.c.leave}
	//nolint:forbidigo // what memberlist takes; it ends in slog
	config.Logger = log.New(lines, "", 0)
	return config
}

// newKeyring makes memberlist's key ring; nil without keys.
func newKeyring(primary []byte, others [][]byte) (*memberlist.Keyring, error) {
	if len(primary) == 0 {
		return nil, nil //nolint:nilnil // memberlist's word for no encryption
	}
	keys := make([][]byte, 0, 1+len(others))
	for _, k := range append([][]byte{primary}, others...) {
		keys = append(keys, bytes.Clone(k))
	}
	return memberlist.NewKeyring(keys[1:], keys[0])
}

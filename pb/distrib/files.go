package distrib

import (
	"errors"
	"time"
)

// Beside a link that a monitor made lies a second socket (SOCK_SEQPACKET), over which the back end
// passes descriptors of files: the front sends them to the client itself. A message is the number
// of the request in 8 bytes, big-endian, with one descriptor, and comes before the response that
// names it. The other way goes a byte for each descriptor that the front took or closed, so that an
// honest back end knows how many lie there.
//
// Links that were dialled have none, and neither have those of parts without a sandbox: these could
// mount file systems that answer when they like.

const (
	// leastPassed is the size from which on passing the descriptor costs less than copying.
	leastPassed = 32 << 10
	// maxUnclaimed is how many descriptors of one link may lie in the front without a response.
	maxUnclaimed = 16
	// unclaimedTime is how long each of them may.
	unclaimedTime = 5 * time.Second
)

var (
	errFile = errors.New("distrib: files by descriptor out of step")
	// errNoFile is a descriptor that never came, or came long before its response.
	errNoFile = errors.New("distrib: the response names a file that is not there")
	// errFileLost is one that the kernel dropped, as this process may open no more.
	errFileLost = errors.New("distrib: the descriptor of a file was lost, this process has none " +
		"free; raise Rights.Descriptors of the front")
)

// A filePart is what a response says of a file that was passed: its body is length bytes (see
// response) from offset on.
type filePart struct {
	number uint64 // the request's; 0: there is no file
	offset int64
}

package pb

import "perspective/cred"

// ID is the node id, which belongs to Key. A node without a Key makes one now.
func (n *Node) ID() (string, error) {
	k, err := n.key()
	return k.NodeID(), err
}

// Sign signs a message with the node's key, where no connection will prove the message's author
// to those that read it. purpose names the use: what was signed for one is worth nothing for
// another. Verify it with cred.VerifyNode.
func (n *Node) Sign(purpose string, message []byte) ([]byte, error) {
	k, err := n.key()
	if err != nil {
		return nil, err
	}
	return cred.SignAsNode(k.private, purpose, message), nil
}

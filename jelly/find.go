package jelly

// EachRef calls f for every reference in a scanned message, in order, until f
// returns an error. It does not recurse.
func EachRef(scanned []byte, f func(Ref) error) error {
	var d Decoder
	d.Reset(nil, nil, scanned, nil)
	for d.i < len(d.b) {
		switch kindAt(d.b, d.i) {
		case KindRef:
			r, err := d.DecodeRef()
			if err != nil {
				return err
			}
			if err := f(r); err != nil {
				return err
			}
		case KindArray, KindMap, KindStruct:
			d.i += containerHead(d.b[d.i]) // what is inside follows
		default:
			if err := d.Skip(); err != nil {
				// the name of a registered type, which stands as a key
				_, _, end, ok := extHead(d.b, d.i)
				if !ok || end <= d.i {
					return err
				}
				d.i = end
			}
		}
	}
	return nil
}

// containerHead is the length of an array's or a map's head.
func containerHead(c byte) int {
	switch c {
	case 0xdc, 0xde:
		return 3
	case 0xdd, 0xdf:
		return 5
	}
	return 1
}

package jelly

import (
	"math"
	"math/big"
	"strconv"
)

// A Summary is what a scan saw.
type Summary struct {
	Items int  // values in the message, map keys included, the outermost one too
	Depth int  // how deep arrays and maps stand in one another; 0 for a bare scalar
	Refs  bool // whether a reference occurs
	Named bool // whether a registered type occurs
}

// A frame is an array or map that the scan is inside of.
type frame struct {
	left    uint32 // values still to come
	entries uint32 // of a map; 0 for an array
}

// Scan walks b, which must hold exactly one MessagePack value and nothing after it, and refuses
// what a decoder must not see: lengths beyond the end, more depth or items than l allows, ext types
// that are not of this wire, keys that are neither string, int, bool nor number, keys that occur
// twice, text that is not UTF-8, and messages that would take up far more memory than their length.
// It does not recurse and for a message with small maps allocates nothing. What it accepts a
// [Decoder] may read; what it refuses comes back as a *ScanError.
func Scan(b []byte, l *Limits) (Summary, error) {
	var keys *keyring
	sum, err := scan(b, l, &keys)
	if keys != nil {
		keys.release()
	}
	return sum, err
}

// shallow is how deep most messages are: a stack of that many frames costs nothing to have.
const shallow = 12

// scan is Scan with a place for the keyring, for the caller to give back.
//
//nolint:funlen // one loop, without calls: each message passes it
func scan(b []byte, l *Limits, ring **keyring) (Summary, error) {
	longest, deepest, most := l.scanned()
	if len(b) > longest || uint64(len(b)) > math.MaxUint32 {
		return Summary{}, overLimit(0, "message of "+strconv.Itoa(len(b))+
			" bytes is longer than the limit of "+strconv.Itoa(longest))
	}
	var (
		first [shallow]frame
		stack = first[:]
		keys  *keyring
		sum   = Summary{Items: 1}
		cur   = frame{left: 1}
		depth int
		cost  = costByte * len(b)
		i     int
	)
	for {
		for cur.left == 0 {
			if cur.entries > 1 {
				dup, mixed := keys.close(b, int(cur.entries))
				if dup >= 0 {
					return Summary{}, scanError(dup, "map key occurs twice")
				}
				if mixed { // a decoder may begin with map[string]any and have to start over
					cost += mapCost(int(cur.entries))
				}
			}
			if depth == 0 {
				if i != len(b) {
					return Summary{}, scanError(i, "bytes after the end of the value")
				}
				if cost > fairFactor*len(b)+fairSlack {
					return Summary{}, overLimit(i,
						"too many tiny maps: decoded they would take more than 80 times the "+
							"message's length")
				}
				return sum, nil
			}
			depth--
			cur = stack[depth]
		}
		if i >= len(b) {
			return Summary{}, scanError(i, "message ends inside a value")
		}
		c := b[i]
		if cur.entries != 0 && cur.left&1 == 0 {
			cur.left--
			k, end, reason := scanKey(b, i)
			if reason != "" {
				return Summary{}, scanError(i, reason)
			}
			switch {
			case k.kind == keyName:
				if cur.entries != 1 || b[i-1] != fixMap|1 {
					return Summary{}, scanError(i,
						"a registered name must be the only key of a fixmap")
				}
				sum.Named = true
			case cur.entries > 1:
				if keys == nil {
					keys = borrow(ring)
				}
				k.at = uint32(i)
				keys.open = append(keys.open, k)
			}
			i = end
			continue
		}
		cur.left--
		i++
		var size, kids uint64
		switch {
		case c <= posFixMax || c >= negFix:
			continue
		case c <= fixMapMax:
			kids = uint64(c & 0x0f)
		case c <= fixArrayMax:
			kids = uint64(c & 0x0f)
		case c <= fixStrMax:
			size = uint64(c & 0x1f)
			if size > uint64(len(b)-i) {
				return Summary{}, scanError(i, "string is longer than what is left")
			}
			if !validText(b[i : i+int(size)]) {
				return Summary{}, scanError(i, "string is not UTF-8")
			}
			i += int(size)
			continue
		default:
			head := headBytes[c-codeNil]
			if head == badHead {
				return Summary{}, scanError(i-1, "0xc1 begins no value")
			}
			n := int(head &^ hasLength)
			if n > len(b)-i {
				return Summary{}, scanError(i, "message ends inside a value")
			}
			if head&hasLength == 0 {
				if isExtHead(c) {
					end, err := scanExt(b, i-1, &sum, l)
					if err != nil {
						return Summary{}, err
					}
					i = end
					continue
				}
				i += n
				continue
			}
			size = lengthAt(b, i, n)
			i += n
			switch c {
			case codeArray16, codeArray32, codeMap16, codeMap32:
				kids = size
			default:
				if size > uint64(len(b)-i) {
					return Summary{}, scanError(i, "string or bytes longer than what is left")
				}
				if c >= codeStr8 && !validText(b[i:i+int(size)]) {
					return Summary{}, scanError(i, "string is not UTF-8")
				}
				i += int(size)
				continue
			}
		}
		// An array or a map.
		entries := uint64(0)
		isMap := c <= fixMapMax || c == codeMap16 || c == codeMap32
		if isMap {
			entries = kids
			kids *= 2
		}
		if kids > uint64(len(b)-i) {
			return Summary{}, scanError(i, "more elements announced than bytes are left")
		}
		if depth >= deepest {
			return Summary{}, overLimit(i, "nested deeper than "+strconv.Itoa(deepest))
		}
		sum.Items += int(kids)
		if sum.Items > most {
			return Summary{}, overLimit(i, "more than "+strconv.Itoa(most)+" values")
		}
		if isMap {
			cost += mapCost(int(entries))
		} else {
			cost += costArray + costElement*int(kids)
		}
		if depth == len(stack) {
			stack = borrow(ring).deep[:]
			copy(stack, first[:])
		}
		stack[depth] = cur
		depth++
		sum.Depth = max(sum.Depth, depth)
		cur = frame{left: uint32(kids), entries: uint32(entries)}
		if c == fixMap|1 {
			if end := skipName(b, i); end > 0 { // what else stands there is looked at as any key
				sum.Named = true
				cur.left--
				i = end
			}
		}
	}
}

// scanExt checks the ext at b[i] and returns where it ends.
func scanExt(b []byte, i int, sum *Summary, l *Limits) (end int, err error) {
	typ, start, end, ok := extHead(b, i)
	if !ok {
		return 0, scanError(i, "message ends inside an ext")
	}
	body := b[start:end]
	reason := ""
	switch typ {
	case int8(RefExport), int8(RefYours), int8(RefAnswer), int8(RefAnswerValue), int8(RefStream):
		sum.Refs = true
		r := Ref{Kind: RefKind(typ)}
		reason = r.parse(body, false)
	case extName:
		reason = "a registered name stands where a value should"
	case extDuration:
		if len(body) != 8 {
			reason = "a duration has 8 bytes"
		}
	case extBigInt:
		reason = checkBigInt(body)
		if limit := l.bigInt(); reason == "" && len(body)-1 > limit {
			return end, overLimit(i, bigIntOver(limit))
		}
	case extTime:
		reason = checkTime(body)
	default:
		reason = "unknown ext type " + strconv.Itoa(int(typ))
	}
	if reason != "" {
		return end, scanError(i, reason)
	}
	return end, nil
}

func checkBigInt(body []byte) string {
	switch {
	case len(body) == 0 || body[0] > 1:
		return "a big int begins with a sign of 0 or 1"
	case len(body) == 1 && body[0] == 1:
		return "a big int is minus zero"
	case len(body) > 1 && body[1] == 0:
		return "a big int begins with a zero"
	}
	return ""
}

func bigIntOver(limit int) string {
	return "a big int of more than " + strconv.Itoa(limit) + " bytes"
}

// bigInt reads a checked body.
func bigInt(body []byte) *big.Int {
	x := new(big.Int).SetBytes(body[1:])
	if body[0] == 1 {
		x.Neg(x)
	}
	return x
}

func checkTime(body []byte) string {
	nanoseconds := uint64(0)
	switch len(body) {
	case 4:
	case 8:
		nanoseconds = be64(body) >> 34
	case 12:
		nanoseconds = uint64(be32(body))
	default:
		return "a timestamp has 4, 8 or 12 bytes"
	}
	if nanoseconds >= 1e9 {
		return "a timestamp has 1e9 nanoseconds or more"
	}
	return ""
}

func scanError(offset int, reason string) error {
	return &ScanError{Offset: offset, Reason: reason}
}

func overLimit(offset int, reason string) error {
	return &ScanError{Offset: offset, Reason: reason, Limit: true}
}

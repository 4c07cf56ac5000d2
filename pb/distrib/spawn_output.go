package distrib

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

const maxLine = 4 << 10

// lineWriter writes whole lines of several parts to one writer.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// copyLines copies until r ends. A longer line is broken, so that a part cannot make the monitor hold more than a
// buffer. A writer that fails loses the output, not the part.
func (l *lineWriter) copyLines(r io.Reader, prefix string) {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			text := prefix + printable(strings.TrimSuffix(string(line), "\n")) + "\n"
			l.mu.Lock()
			_, _ = io.WriteString(l.w, text)
			l.mu.Unlock()
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// printable escapes what would move the cursor, forge a line or hide text.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if strings.IndexFunc(s, unsafeRune) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unsafeRune(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }

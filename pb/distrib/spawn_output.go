package distrib

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"

	"perspective/internal/guard"
	"perspective/internal/lines"
)

const (
	defaultLine = 16 << 10 // an access line with its target fits
	defaultRate = 64 << 10
	rateBurst   = 16 // seconds of the rate at once: 1 MiB by default, the stacks of a large program

	// What is read while there is no budget is thrown away, and no faster than this: a part that
	// prints without end waits for the monitor, not the monitor's processor for it.
	dropPiece = 64 << 10
	dropPause = 10 * time.Millisecond
)

// lineWriter writes whole lines of several parts to one writer.
type lineWriter struct {
	log *slog.Logger

	mu sync.Mutex
	w  io.Writer
}

// write writes one line. A writer that fails, or panics, loses the output, not the part.
func (l *lineWriter) write(line string) {
	l.mu.Lock()
	err := guard.Run(func() error {
		_, err := io.WriteString(l.w, line)
		return err
	})
	l.mu.Unlock()
	lines.Fault(context.Background(), l.log, "the writer of a part's output", err)
}

// printer is what one life of a part prints, on however many pipes.
type printer struct {
	name string
	line int        // bytes
	rate float64    // bytes a second
	pid  func() int // 0 while it is not known
	now  func() time.Time

	mu           sync.Mutex
	tokens       float64
	last         time.Time
	lines, bytes int64 // left out and not told yet
	teller       *time.Timer
	telling      sync.WaitGroup
}

func newPrinter(p *Part, pid func() int) *printer {
	out := &printer{name: p.Name, line: defaultLine, rate: defaultRate, pid: pid, now: time.Now}
	if p.OutputLine > 0 {
		out.line = p.OutputLine
	}
	if p.OutputRate > 0 {
		out.rate = float64(p.OutputRate)
	}
	return out
}

// copyLines copies until r ends. A longer line is broken, so that a part cannot make the monitor
// hold more than a buffer. With a name each line tells the part.
func (p *printer) copyLines(to *lineWriter, r io.Reader, named bool) {
	defer p.end(to, named)
	in := bufio.NewReaderSize(r, max(16, p.line))
	dropped := 0
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if p.spend(len(line), to, named) {
				to.write(p.format(bytes.TrimSuffix(line, []byte("\n")), named))
			} else if dropped += len(line); dropped >= dropPiece {
				dropped = 0
				<-time.NewTimer(dropPause).C
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// spend says whether so many bytes may be written now. What may not is counted, and told within a
// second.
func (p *printer) spend(n int, to *lineWriter, named bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.last.IsZero() {
		p.tokens = rateBurst * p.rate
	} else {
		p.tokens = min(rateBurst*p.rate, p.tokens+p.rate*now.Sub(p.last).Seconds())
	}
	p.last = now
	// An empty line costs as well: its prefix is written.
	if cost := float64(n + len(p.name) + 2); p.tokens >= cost {
		p.tokens -= cost
		return true
	}
	p.lines++
	p.bytes += int64(n)
	if p.teller == nil {
		p.telling.Add(1)
		// ends when it has told; the end of the pipe waits for it
		p.teller = time.AfterFunc(time.Second, func() {
			defer p.telling.Done()
			p.tell(to, named)
		})
	}
	return false
}

// end tells what was not told yet; after it there is nothing more.
func (p *printer) end(to *lineWriter, named bool) {
	p.mu.Lock()
	if p.teller != nil && p.teller.Stop() {
		p.telling.Done()
	}
	p.mu.Unlock()
	p.telling.Wait()
	p.tell(to, named)
}

// tell writes how much was left out since it was told last.
func (p *printer) tell(to *lineWriter, named bool) {
	p.mu.Lock()
	p.teller = nil
	lines, size := p.lines, p.bytes
	p.lines, p.bytes = 0, 0
	p.mu.Unlock()
	if size > 0 {
		to.write(
			p.format(
				fmt.Appendf(nil, "[left out: %d lines, %d bytes: more than %.0f bytes a second]",
					lines, size, p.rate), named))
	}
}

// format makes the line that is written. A line that is a JSON object stays one, and says whose it
// is in fields that nothing in it can stand for; any other gets the name before it.
func (p *printer) format(line []byte, named bool) string {
	if !named {
		return printable(string(line)) + "\n"
	}
	if bytes.HasPrefix(line, []byte("{")) {
		if object, ok := p.sign(line); ok {
			return object + "\n"
		}
	}
	return p.name + ": " + printable(string(line)) + "\n"
}

// sign adds "part" and "pid" to a JSON object. Fields of these names that it has get "own_" before
// theirs, in whatever case: readers of JSON differ in which of two they take.
func (p *printer) sign(line []byte) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(line, []byte("\ufffd"))))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return "", false
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return "", false
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return "", false
		}
		if strings.EqualFold(key, "part") || strings.EqualFold(key, "pid") {
			key = "own_" + key
		}
		quoted, err := json.Marshal(key)
		if err != nil {
			return "", false
		}
		b.Write(quoted)
		b.WriteByte(':')
		if err := json.Compact(&b, value); err != nil {
			return "", false
		}
		b.WriteByte(',')
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return "", false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", false
	}
	fmt.Fprintf(&b, `"part":%q,"pid":%d}`, p.name, p.pid()) // a name has nothing that JSON escapes
	return printableJSON(b.String()), true
}

// printableJSON escapes what printable does, in JSON's own way. Without spaces outside strings all
// of it is in strings.
func printableJSON(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !unsafeRune(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
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

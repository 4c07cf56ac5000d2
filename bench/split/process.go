package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pids are the server's processes and all that come of them.
func (s *server) pids() []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, file := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, which is in parentheses, may have blanks.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	var all []int
	for _, p := range s.procs {
		all = append(all, p.Process.Pid)
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// cpu is what the processes have used so far, in user and system mode.
func (s *server) cpu() (sum time.Duration) {
	for _, pid := range s.pids() {
		// Of each thread, in nanoseconds; stat counts in hundredths of a second.
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, file := range tasks {
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			word, _, _ := strings.Cut(string(text), " ")
			if n, err := strconv.ParseInt(word, 10, 64); err == nil {
				sum += time.Duration(n)
			}
		}
	}
	return sum
}

// memory is what the processes have for themselves, in KiB.
func (s *server) memory() (sum float64) {
	for _, pid := range s.pids() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if v, ok := strings.CutPrefix(line, "RssAnon:"); ok {
				if n, err := strconv.ParseFloat(strings.Fields(v)[0], 64); err == nil {
					sum += n
				}
			}
		}
	}
	return sum
}

// measureMemory measures what clients cost that wait for events.
func (b *bench) measureMemory() {
	b.memory = map[string]float64{}
	for _, s := range b.servers {
		if !s.way.takes(load{name: "memory"}) {
			continue
		}
		before := s.memory()
		conns, err := s.listeners(b.clients)
		after := s.memory()
		for _, c := range conns {
			_ = c.Close() // it is over
		}
		if err != nil {
			b.say("%s, memory: %v", s.way.name, err)
			continue
		}
		b.memory[s.way.name] = (after - before) / float64(b.clients)
	}
}

// listeners opens n streams of events, each from an address of its own: a site bounds what one
// client may have.
func (s *server) listeners(n int) (conns []net.Conn, err error) {
	for i := range n {
		d := net.Dialer{Timeout: patience,
			LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/200), byte(1+i%200))}}
		c, err := d.Dial("tcp", s.addr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return conns, err
		}
		if _, err := fmt.Fprintf(c, "GET /events HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
			return conns, err
		}
		r := bufio.NewReader(c)
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return conns, err
		}
		line, err := bufio.NewReader(answer.Body).ReadString('\n')
		if err != nil {
			return conns, err
		}
		if answer.StatusCode != http.StatusOK {
			return conns, fmt.Errorf("%s: %s", answer.Status, line)
		}
	}
	return conns, nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}

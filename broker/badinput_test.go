package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/broker"
)

// TestBrokenRules holds what ends the connection: with ABORT, and a reason.
func TestBrokenRules(t *testing.T) {
	ping := frameOf(framePing, flagSYN, 0, 1)
	syn := func(id uint32) []byte { return frameOf(frameWindow, flagSYN, id, 0) }
	long := callOf(t, 1, 0, "echo", make([]byte, 70<<10))[4:]
	tests := []struct {
		name, reason string
		send         [][]byte
	}{
		{"no MessagePack", "message: want MessagePack as section 4 says, got at byte 0: ",
			[][]byte{inFrame([]byte{0, 0, 0, 1, 0xc1})}},
		{"empty message", "message: want MessagePack as section 4 says, got at byte 0: ",
			[][]byte{inFrame([]byte{0, 0, 0, 0})}},
		{"truncated message", "CALL: want MessagePack as section 4 says, got at byte ",
			[][]byte{inFrame([]byte{0, 0, 0, 3, 0x93, 1, 2})}},
		{"array of 2^32-1", "", [][]byte{inFrame([]byte{0, 0, 0, 5, 0xdd, 255, 255, 255, 255})}},
		{"trailing bytes", "GOAWAY: want MessagePack as section 4 says, got at byte ",
			[][]byte{inFrame([]byte{0, 0, 0, 4, 0x92, 12, 0, 0})}},
		{"message of 2 GiB", "message: length: want at most 65536, got 2147483648",
			[][]byte{inFrame([]byte{128, 0, 0, 0})}},
		{"no array", "", [][]byte{inFrame(append([]byte{0, 0, 0, 1}, 7))}},
		{"message type 0", "message type", [][]byte{inFrame(messageOf(t, 0, 0))}},
		{"message type 99", "message type", [][]byte{inFrame(messageOf(t, 99, 0))}},
		{"question over 32 bits", "32 bits", [][]byte{inFrame(messageOf(t, 3, uint64(1)<<40))}},
		{"question 0 not oneway", "flags", [][]byte{inFrame(callOf(t, 0, 0, "echo"))}},
		{"oneway with question", "flags",
			[][]byte{inFrame(callOf(t, 4, broker.FlagOneway, "echo"))}},
		{"unknown flag", "flags", [][]byte{inFrame(callOf(t, 4, 1<<20, "echo"))}},
		{"arguments no array", "array", [][]byte{inFrame(messageOf(t, 1, 1, 0, 1, "echo", "x"))}},
		{"CALL too short", "CALL", [][]byte{inFrame(messageOf(t, 1, 1, 0))}},
		{"method name of 300 bytes",
			"CALL: element 4, method: want str of at most 255 bytes, got 300",
			[][]byte{inFrame(callOf(t, 1, 0, strings.Repeat("x", 300)))}},
		{"path of 17 steps", "path",
			[][]byte{inFrame(messageOf(t, 1, 2, 0, []any{1, make([]string, 17)}, "x", []any{}))}},
		{"target answer 0", "target",
			[][]byte{inFrame(messageOf(t, 1, 2, 0, []any{0, []any{}}, "x", []any{}))}},
		{"question asked twice", "twice",
			[][]byte{inFrame(callOf(t, 1, 0, "hang")), inFrame(callOf(t, 1, 0, "hang"))}},
		{"RETURN unasked", "not asked", [][]byte{inFrame(messageOf(t, 2, 7, "x"))}},
		{"RETURN too short", "RETURN", [][]byte{inFrame(messageOf(t, 2, 7))}},
		{"NOTE unasked", "not asked", [][]byte{inFrame(messageOf(t, 4, 7, "x"))}},
		{"RELEASE unknown", "not exported", [][]byte{inFrame(messageOf(t, 6, 0, 77, 1))}},
		{"CREDIT unknown", "CREDIT", [][]byte{inFrame(messageOf(t, 8, 0, 1, 1))}},
		{"STOP over 32 bits", "STOP", [][]byte{inFrame(messageOf(t, 9, 0, uint64(1)<<33))}},
		{"PART of nothing", "", [][]byte{inFrame(messageOf(t, 5, 0, 1, true, []byte{}))}},
		{"PART of PART", "in pieces",
			[][]byte{inFrame(messageOf(t, 5, 0, 1, false, messageOf(t, 10, 0, 1)[4:]))}},
		{"first PART too short", "", [][]byte{inFrame(messageOf(t, 5, 0, 1, false, long[:5]))}},
		{"PART shorter than it says", "", [][]byte{
			inFrame(messageOf(t, 5, 0, 1, false, long[:2000])),
			inFrame(messageOf(t, 5, 0, 1, true, []byte{})),
		}},
		{"yamux version 1", "version", [][]byte{{1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}}},
		{"frame type 9", "type", [][]byte{frameOf(9, 0, 1, 0)}},
		{"frame flags", "flags", [][]byte{frameOf(frameData, 0x40, 1, 0)}},
		{"call stream opened twice", "flags", [][]byte{syn(1)}},
		{"call stream acknowledged", "flags", [][]byte{frameOf(frameWindow, flagACK, 1, 0)}},
		{"window overrun", "window", [][]byte{frameOf(frameData, 0, 1, 256<<10+1)}},
		{"grants over 4 GiB", "grants",
			[][]byte{frameOf(frameWindow, 0, 1, 1<<32-1), frameOf(frameWindow, 0, 1, 1<<32-1)}},
		{"ping on a stream", "ping", [][]byte{frameOf(framePing, flagSYN, 3, 1)}},
		{"ping flood", "control", [][]byte{bytes.Repeat(ping, 9000)}},
		{"empty frames", "control", [][]byte{bytes.Repeat(frameOf(frameData, 0, 1, 0), 9000)}},
		{"go away on stream 3", "yamux go away: want stream 0, got 3",
			[][]byte{frameOf(frameGoAway, 0, 3, 0)}},
		{"go away for an error", "go away", [][]byte{frameOf(frameGoAway, 0, 0, 1)}},
		{"frame on stream 0", "stream 0", [][]byte{frameOf(frameData, 0, 0, 0)}},
		{"stream of our parity", "wrong side", [][]byte{syn(2)}},
		{"stream never opened", "never opened", [][]byte{frameOf(frameData, 0, 5, 1, 'x')}},
		{"stream opened twice", "twice", [][]byte{syn(3), syn(3)}},
		{"stream far ahead", "opened after", [][]byte{syn(1<<20 + 1)}},
		{"stream window overrun", "window", [][]byte{syn(3), frameOf(frameData, 0, 3, 256<<10+1)}},
		{"stream grants", "grants", [][]byte{syn(3), frameOf(frameWindow, 0, 3, 1<<25)}},
		{"stream grants that wrap", "grants", [][]byte{syn(3),
			frameOf(frameWindow, 0, 3, 1<<24-1<<18), frameOf(frameWindow, 0, 3, 1<<32-1)}},
		{"stream acknowledged by its opener", "acknowledged",
			[][]byte{syn(3), frameOf(frameWindow, flagACK, 3, 0)}},
		{"data after FIN", "after its end", [][]byte{syn(3), frameOf(frameWindow, flagFIN, 3, 0),
			frameOf(frameData, 0, 3, 1, 'x')}},
		{"rapid reset", "control", [][]byte{rapidReset(2100)}},
		{"little grants", "control", [][]byte{bytes.Repeat(frameOf(frameWindow, 0, 1, 1), 4200)}},
		{"go away for ever", "control",
			[][]byte{bytes.Repeat(frameOf(frameGoAway, 0, 0, 0), 4200)}},
		{"frames for a closed stream", "control", [][]byte{
			syn(3), frameOf(frameWindow, flagRST, 3, 0),
			bytes.Repeat(frameOf(frameWindow, 0, 3, 1), 9000),
		}},
		{"in one piece over 64 KiB",
			"message: length: want at most 65536, longer ones go in PARTs; got 7",
			[][]byte{inFrame(callOf(t, 1, 0, "echo", make([]byte, 70<<10)))}},
		{"length little-endian",
			"message: length: want at most 65536, got 385875968 (23 with the bytes the other way",
			[][]byte{inFrame([]byte{23, 0, 0, 0, 0x92})}},
		{"length little-endian, cut", "got 385875968 (23 with",
			[][]byte{inFrame([]byte{23}), inFrame([]byte{0, 0, 0, 0x92})}},
		{"str not UTF-8",
			"CALL: want MessagePack as section 4 says, got at byte 5: string is not UTF-8",
			[][]byte{inFrame([]byte{0, 0, 0, 8, 0x96, 1, 1, 0, 0xa1, 0xff, 0xa0, 0x90})}},
		{"an array of 1", "message: want array [type, q, …], got array of 1",
			[][]byte{inFrame(messageOf(t, 3))}},
		{"a map", "message: want array [type, q, …], got map",
			[][]byte{inFrame([]byte{0, 0, 0, 1, 0x80})}},
		{"type as str", "message: element 0, message type: want 1 to 13, got str",
			[][]byte{inFrame(messageOf(t, "3", 1))}},
		{"type over the last", "message: element 0, message type: want 1 to 13, got 14",
			[][]byte{inFrame(messageOf(t, 14, 0))}},
		{"q negative", "FINISH: element 1, q: want uint of 32 bits, got -1",
			[][]byte{inFrame(messageOf(t, 3, -1))}},
		{"q as float", "FINISH: element 1, q: want uint of 32 bits, got float",
			[][]byte{inFrame(messageOf(t, 3, 1.0))}},
		{"flags as str", "CALL: element 2, flags: want uint, got str",
			[][]byte{inFrame(messageOf(t, 1, 1, "", 1, "echo", []any{}))}},
		{"flag 8", "CALL: element 2, flags: want 0 to 7, got 8",
			[][]byte{inFrame(callOf(t, 1, 8, "echo"))}},
		{"oneway with q",
			"CALL: element 1, q: want 0 if the flags have oneway, and only then, got 4 with " +
				"flags 1", [][]byte{inFrame(callOf(t, 4, broker.FlagOneway, "echo"))}},
		{"target as str", "CALL: element 3, target: want uint or [q, path], got str",
			[][]byte{inFrame(messageOf(t, 1, 1, 0, "root", "echo", []any{}))}},
		{"target of 3", "CALL: element 3, target: want uint or [q, path], got array of 3",
			[][]byte{inFrame(messageOf(t, 1, 2, 0, []any{1, []any{}, 0}, "x", []any{}))}},
		{"path as str", "CALL: element 3, target, path: want array of at most 16 str, got str",
			[][]byte{inFrame(messageOf(t, 1, 2, 0, []any{1, "a"}, "x", []any{}))}},
		{"step as int", "CALL: element 3, target, path: want array of at most 16 str, got 7",
			[][]byte{inFrame(messageOf(t, 1, 2, 0, []any{1, []any{7}}, "x", []any{}))}},
		{"step of 256 bytes",
			"CALL: element 3, target, path: want str of at most 255 bytes, got 256", [][]byte{
				inFrame(
					messageOf(t, 1, 2, 0, []any{1, []any{strings.Repeat("s", 256)}}, "x", []any{})),
			}},
		{"method as bin", "CALL: element 4, method: want str, got bin",
			[][]byte{inFrame(messageOf(t, 1, 1, 0, 1, []byte("echo"), []any{}))}},
		{"method as nil", "CALL: element 4, method: want str, got nil",
			[][]byte{inFrame(messageOf(t, 1, 1, 0, 1, nil, []any{}))}},
		{"deadline negative", "CALL: element 5, deadline: want uint, got -5",
			[][]byte{inFrame(messageOf(t, 1, 1, 0, 1, "echo", -5, []any{}))}},
		{"depth as nil", "CALL: element 6, depth: want uint, got nil",
			[][]byte{inFrame(messageOf(t, 1, 1, 0, 1, "echo", 0, nil, []any{}))}},
		{"trace as str", "CALL: element 7, trace: want bin of at most 256 bytes, or nil, got str",
			[][]byte{inFrame(messageOf(t, 1, 1, 0, 1, "echo", 0, 0, "t", []any{}))}},
		{"token of 257 bytes",
			"CALL: element 8, token: want bin of at most 256 bytes, or nil, got 257", [][]byte{
				inFrame(messageOf(t, 1, 1, 0, 1, "echo", 0, 0, nil, make([]byte, 257), []any{})),
			}},
		{"arguments as map", "CALL: element 5, arguments: want array, got map",
			[][]byte{inFrame(messageOf(t, 1, 1, 0, 1, "echo", map[string]any{}))}},
		{"CALL of 11", "CALL: want 6 to 10 elements, got 11",
			[][]byte{inFrame(messageOf(t, 1, 1, 0, 1, "echo", 0, 0, nil, nil, []any{}, 0))}},
		{"RETURN of 6", "RETURN: want 3 to 5 elements, got 6",
			[][]byte{inFrame(messageOf(t, 2, 7, nil, nil, 1, 0))}},
		{"RETURN of 0", "RETURN: element 1, q: want a question that waits for its answer, got 0",
			[][]byte{inFrame(messageOf(t, 2, 0, nil))}},
		{"FINISH of 0", "FINISH: element 1, q: want a question, not 0, got 0",
			[][]byte{inFrame(messageOf(t, 3, 0))}},
		{"FINISH of 3", "FINISH: want 2 elements, got 3", [][]byte{inFrame(messageOf(t, 3, 1, 0))}},
		{"NOTE of 2", "NOTE: want 3 elements, got 2", [][]byte{inFrame(messageOf(t, 4, 1))}},
		{"PART with q", "PART: element 1, q: want 0, got 1",
			[][]byte{inFrame(messageOf(t, 5, 1, 1, false, long[:2000]))}},
		{"PART of 4", "PART: want 5 elements, got 4",
			[][]byte{inFrame(messageOf(t, 5, 0, 1, true))}},
		{"n as str", "PART: element 2, n: want uint of 32 bits, got str",
			[][]byte{inFrame(messageOf(t, 5, 0, "1", true, long[:2000]))}},
		{"n of 0", "PART: element 2, n: want 1, or that of a message that has not ended, got 0",
			[][]byte{inFrame(messageOf(t, 5, 0, 0, false, long[:2000]))}},
		{"first n of 2",
			"PART: element 2, n: want 1, or that of a message that has not ended, got 2",
			[][]byte{inFrame(messageOf(t, 5, 0, 2, false, long[:2000]))}},
		{"n of what has ended",
			"PART: element 2, n: want 2, or that of a message that has not ended, got 1", [][]byte{
				inFrame(messageOf(t, 5, 0, 1, true, callOf(t, 1, 0, "echo", 1)[4:])),
				inFrame(messageOf(t, 5, 0, 1, true, long[:2000])),
			}},
		{"PARTs among others'", "PART: element 2, n: want 2, which has not ended, got 1", [][]byte{
			inFrame(messageOf(t, 5, 0, 1, false, long[:2000])),
			inFrame(messageOf(t, 5, 0, 2, false,
				callOf(t, 2, 0, "echo", make([]byte, 70<<10))[4:2000])),
			inFrame(messageOf(t, 5, 0, 2, false, long[:2000])),
			inFrame(messageOf(t, 5, 0, 1, false, long[:2000])),
		}},
		{"last as int", "PART: element 3, last: want bool, got 0",
			[][]byte{inFrame(messageOf(t, 5, 0, 1, 0, long[:2000]))}},
		{"last as nil", "PART: element 3, last: want bool, got nil",
			[][]byte{inFrame(messageOf(t, 5, 0, 1, nil, long[:2000]))}},
		{"bytes as nil", "PART: element 4, bytes: want bin, got nil",
			[][]byte{inFrame(messageOf(t, 5, 0, 1, false, nil))}},
		{"bytes as str", "PART: element 4, bytes: want bin, got str",
			[][]byte{inFrame(messageOf(t, 5, 0, 1, false, "xxxx"))}},
		{"RETURN unasked in pieces",
			"PART: first piece, up to a CALL's arguments: RETURN: element 1, q:",
			[][]byte{inFrame(messageOf(t, 5, 0, 1, false, messageOf(t, 2, 9, "x")[4:]))}},
		{"a piece of nothing", "PART: first piece, up to a CALL's arguments: message: want array",
			[][]byte{inFrame(messageOf(t, 5, 0, 1, false, []byte{}))}},
		{"RELEASE with q", "RELEASE: element 1, q: want 0, got 3",
			[][]byte{inFrame(messageOf(t, 6, 3, 2, 1))}},
		{"RELEASE as str", "RELEASE: element 2, export: want uint, got str",
			[][]byte{inFrame(messageOf(t, 6, 0, "2", 1))}},
		{"RELEASE none", "RELEASE: element 3, count: want 1 or more, got 0",
			[][]byte{inFrame(messageOf(t, 6, 0, 1, 0))}},
		{"RELEASE of 3", "RELEASE: want 4 elements, got 3",
			[][]byte{inFrame(messageOf(t, 6, 0, 2))}},
		{"RESOLVE with q", "RESOLVE: element 1, q: want 0, got 1",
			[][]byte{inFrame(messageOf(t, 7, 1, 2, nil))}},
		{"RESOLVE to a number", "RESOLVE: element 3, ref: want a reference, got 7",
			[][]byte{inFrame(messageOf(t, 7, 0, 2, 7))}},
		{"RESOLVE with both", "RESOLVE: element 3, ref: want nil beside an error, got 7",
			[][]byte{inFrame(messageOf(t, 7, 0, 2, 7, []any{"", ""}))}},
		{"RESOLVE of 3", "RESOLVE: want 4 or 5 elements, got 3",
			[][]byte{inFrame(messageOf(t, 7, 0, 2))}},
		{"CREDIT with q", "CREDIT: element 1, q: want 0, got 1",
			[][]byte{inFrame(messageOf(t, 8, 1, 0, 0))}},
		{"CREDIT as nil", "CREDIT: element 3, bytes: want uint, got nil",
			[][]byte{inFrame(messageOf(t, 8, 0, 0, nil))}},
		{"CREDIT for more",
			"CREDIT: elements 2 and 3, calls and bytes: want at most 0 and 0, which are out, got " +
				"0 and 1", [][]byte{inFrame(messageOf(t, 8, 0, 0, 1))}},
		{"STOP with q", "STOP: element 1, q: want 0, got 1",
			[][]byte{inFrame(messageOf(t, 9, 1, 3))}},
		{"STOP of the call stream",
			"STOP: element 2, stream: want a byte stream that was opened, got 1",
			[][]byte{inFrame(messageOf(t, 9, 0, 1))}},
		{"STOP of what was never opened",
			"STOP: element 2, stream: want a byte stream that was opened, got 3",
			[][]byte{inFrame(messageOf(t, 9, 0, 3))}},
		{"PING with q", "PING: element 1, q: want 0, got 1",
			[][]byte{inFrame(messageOf(t, 10, 1, 0))}},
		{"PING of 2", "PING: want 3 elements, got 2", [][]byte{inFrame(messageOf(t, 10, 0))}},
		{"PONG as str", "PONG: element 2, number: want uint, got str",
			[][]byte{inFrame(messageOf(t, 11, 0, "1"))}},
		{"GOAWAY with q", "GOAWAY: element 1, q: want 0, got 1",
			[][]byte{inFrame(messageOf(t, 12, 1))}},
		{"GOAWAY of 3", "GOAWAY: want 2 elements, got 3",
			[][]byte{inFrame(messageOf(t, 12, 0, 0))}},
		{"CALL after GOAWAY", "CALL: want none after GOAWAY, got one",
			[][]byte{inFrame(messageOf(t, 12, 0)), inFrame(callOf(t, 1, 0, "echo", 1))}},
		{"CALL after GoAway", "CALL: want none after GOAWAY, got one",
			[][]byte{frameOf(frameGoAway, 0, 0, 0), inFrame(callOf(t, 1, 0, "echo", 1))}},
		{"CALL in pieces after GOAWAY", "CALL: want none after GOAWAY, got one", [][]byte{
			inFrame(messageOf(t, 12, 0)), inFrame(messageOf(t, 5, 0, 1, false, long[:2000])),
		}},
		{"FIN on the call stream", "FIN or RST on the call stream",
			[][]byte{frameOf(frameWindow, flagFIN, 1, 0)}},
		{"RST on the call stream", "FIN or RST on the call stream",
			[][]byte{frameOf(frameWindow, flagRST, 1, 0)}},
	}
	for _, tt := range tests {
		run := func(t *testing.T, c, s net.Conn) {
			o := echo()
			o.m["hang"] = func(in *broker.Incoming, _ []any) { <-in.Done(); in.Fail(in.Err()) }
			w, b := against(t, c, s, broker.Config{Root: o})
			w.greet()
			go func() { // ends when all is taken, or with the connection
				for _, p := range tt.send {
					w.write(p)
				}
			}()
			if got := w.aborted(); !strings.Contains(got, tt.reason) {
				t.Errorf("reason %q, want something of %q", got, tt.reason)
			}
			_ = c.Close()
			if strings.HasPrefix(tt.reason, "FIN or RST") { // as if it had been closed
				<-b.Done()
				return
			}
			broken(t, b)
		}
		t.Run(tt.name, func(t *testing.T) {
			// so many a second: the clock stands still while they are read
			if tt.reason == "control" {
				synctest.Test(t, func(t *testing.T) {
					c, s := net.Pipe()
					run(t, c, s)
				})
				return
			}
			c, s := tcp(t)
			deadline(t, c)
			run(t, c, s)
		})
	}
}

func rapidReset(n int) []byte {
	var b []byte
	for i := range uint32(n) {
		b = append(b, frameOf(frameWindow, flagSYN, 3+2*i, 0)...)
		b = append(b, frameOf(frameWindow, flagRST, 3+2*i, 0)...)
	}
	return b
}

// TestBadPreface: a peer that does not speak the protocol is told so, and its connection is closed.
func TestBadPreface(t *testing.T) {
	version := func(v any) []byte { return prefaceOf(t, map[string]any{"version": v}) }
	limit := func(name string, v any) []byte {
		return prefaceOf(t, map[string]any{"version": 1, "limits": map[string]any{name: v}})
	}
	tests := []struct {
		name, reason string
		send         []byte
	}{
		{"HTTP",
			"preface: want 50 42 01 0a at the beginning, got 47 45 54 20: an HTTP client is there",
			[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"TLS", "listen at pb://", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}},
		{"wrong version", "preface: version: want 1, got 2", version(2)},
		{"no version", "version", prefaceOf(t, map[string]any{})},
		{"version no number", "preface: version: want uint, got str", version("1")},
		{"too long", "preface: length: want at most 4096, got 65535",
			[]byte{'P', 'B', 1, '\n', 255, 255}},
		{"garbage in it", "preface", []byte{'P', 'B', 1, '\n', 0, 3, 0xc1, 0xc1, 0xc1}},
		{"map of 2^32-1", "preface", []byte{'P', 'B', 1, '\n', 0, 5, 0xdf, 255, 255, 255, 255}},
		{"key as int", "preface: key: want str, got 7",
			[]byte{'P', 'B', 1, '\n', 0, 3, 0x81, 7, 7}},
		{"an array", "preface: want map, got array", []byte{'P', 'B', 1, '\n', 0, 1, 0x90}},
		{"version negative", "preface: version: want uint, got -1", version(-1)},
		{"features as str", "preface: features: want array of str, got str",
			prefaceOf(t, map[string]any{"version": 1, "features": "x"})},
		{"features as nil", "preface: features: want array of str, got nil",
			prefaceOf(t, map[string]any{"version": 1, "features": nil})},
		{"an unknown key nested too deep", "preface: ",
			prefaceOf(t, map[string]any{"version": 1, "x": []any{[]any{[]any{[]any{1}}}}})},
		{"node as bin", "preface: node: want str, got bin",
			prefaceOf(t, map[string]any{"version": 1, "node": []byte("n")})},
		{"limits as array", "preface: limits: want map, got array",
			prefaceOf(t, map[string]any{"version": 1, "limits": []any{}})},
		{"message 0", "preface: limits: message: want int from 1 up, got 0", limit("message", 0)},
		{"message -1", "preface: limits: message: want int from 1 up, got -1",
			limit("message", -1)},
		{"calls 0", "preface: limits: calls: want int from 1 up, got 0", limit("calls", 0)},
		{"bytes as str", "preface: limits: bytes: want int from 1 up, got str",
			limit("bytes", "1")},
		{"streams -1", "preface: limits: streams: want int from 0 up, got -1",
			limit("streams", -1)},
		{"calls as float", "preface: limits: calls: want int from 1 up, got float",
			limit("calls", 1.5)},
		{"long name", "preface: node: want str of at most 256 bytes, got 300",
			prefaceOf(t, map[string]any{"version": 1, "node": strings.Repeat("n", 300)})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, s := tcp(t)
			deadline(t, c)
			w, b := against(t, c, s, broker.Config{})
			w.write(tt.send)
			if got := w.aborted(); !strings.Contains(got, tt.reason) {
				t.Errorf("reason %q, want something of %q", got, tt.reason)
			}
			_ = c.Close()
			broken(t, b)
		})
	}
}

// TestAbortReaches: the reason is what the other side's connection ends with.
func TestAbortReaches(t *testing.T) {
	onSockets(t, func(t *testing.T, c, s net.Conn) {
		b, err := broker.New(c, broker.Config{Dialer: true, Errors: plainErrors{}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close() //nolint:errcheck // it has ended by itself
		p := prefaceOf(t, map[string]any{"version": 1})
		if _, err := s.Write(append(p, inFrame(messageOf(t, 13, 0, "because"))...)); err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		<-b.Done()
		var a *broker.AbortError
		if !errors.As(b.Err(), &a) || a.Reason != "because" ||
			!errors.Is(b.Err(), broker.ErrPeerClosed) {
			t.Errorf("Err = %v", b.Err())
		}
	})
}

// TestAbortIsRead: a peer that broke a rule and went on writing reads the reason, though what it
// wrote lies unread.
func TestAbortIsRead(t *testing.T) {
	onSockets(t, func(t *testing.T, c, s net.Conn) {
		t.Parallel() // each waits for a second
		deadline(t, c)
		w, b := against(t, c, s, broker.Config{})
		w.greet()
		w.write(inFrame(messageOf(t, 3, 0)), make([]byte, 64<<10))
		<-b.Done()
		if got := w.aborted(); !strings.Contains(got, "FINISH") {
			t.Errorf("the reason is %q", got)
		}
	})
}

// TestHalf: what is begun and not finished ends in time, and a connection that
// is cut says so.
func TestHalf(t *testing.T) {
	whole := prefaceOf(t, map[string]any{"version": 1})
	greeting := append(append([]byte(nil), whole...), frameOf(frameWindow, flagSYN, 1, 0)...)
	tests := []struct {
		name  string
		send  []byte
		after time.Duration // of silence
	}{
		{"nothing", nil, 10 * time.Second},
		{"half a preface", whole[:9], 5 * time.Second},
		{"half a header", append(append([]byte(nil), greeting...), 0, 0, 0), 5 * time.Second},
		{"half a frame", append(append([]byte(nil), greeting...),
			inFrame(callOf(t, 1, 0, "echo"))[:20]...), 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name+", then silence", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := net.Pipe()
				start := time.Now()
				w, b := against(t, c, s, broker.Config{})
				go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
				w.write(tt.send)
				<-b.Done()
				if d := time.Since(start); d < tt.after || d > tt.after+2*time.Second {
					t.Errorf("ended after %v with %v, want %v", d, b.Err(), tt.after)
				}
			})
		})
		t.Run(tt.name+", then the end", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := net.Pipe()
				w, b := against(t, c, s, broker.Config{})
				go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
				w.write(tt.send)
				_ = c.Close()
				<-b.Done()
				if !errors.Is(b.Err(), broker.ErrPeerClosed) {
					t.Errorf("Err = %v", b.Err())
				}
			})
		})
	}
}

// TestRefusedCalls holds what costs a call and not the connection.
func TestRefusedCalls(t *testing.T) {
	deep := []byte{}
	for range 100 {
		deep = append(deep, 0x91)
	}
	deep = append(deep, 0xc0)
	head := func(q byte) []byte { return append([]byte{0x96, 1, q, 0, 1, 0xa4}, "echo"...) }
	withLength := func(p []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)
	}
	tests := []struct {
		name, failure string
		q             int
		send          []byte
	}{
		{"unknown object", "no such object", 1, messageOf(t, 1, 1, 0, 99, "echo", []any{})},
		{"unknown answer", "no such object", 2,
			messageOf(t, 1, 2, 0, []any{55, []any{}}, "echo", []any{})},
		{"its own answer", "no such object", 3,
			messageOf(t, 1, 3, 0, []any{3, []any{}}, "echo", []any{})},
		{"unknown method", "no such method", 4, callOf(t, 4, 0, "nothing")},
		{"boot object", "no such object", 5, messageOf(t, 1, 5, 0, 0, "echo", []any{})},
		{"too deep a value", "", 6, withLength(append(head(6), deep...))},
		{"65 arguments", "arguments", 7, callOf(t, 7, 0, "echo", make([]any, 65)...)},
		{"100,001 items", "", 8,
			withLength(append(head(8),
				append([]byte{0x91, 0xdd, 0, 1, 0x86, 0xa1}, make([]byte, 100_001)...)...))[:0]},
		{"a whole number over 1 KiB", "big int of more than 1024 bytes", 11,
			withLength(append(append(head(11), 0x91, 0xc8, 4, 2, 8, 0),
				bytes.Repeat([]byte{1}, 1025)...))},
		{"an error of the method's", "own error", 10, callOf(t, 10, 0, "fail")},
	}
	c, s := tcp(t)
	deadline(t, c)
	w, b := against(t, c, s, broker.Config{Root: echo()})
	w.greet()
	for _, tt := range tests {
		if len(tt.send) == 0 {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			w.say(tt.send)
			if _, got := w.returned(tt.q); got == "" || !strings.Contains(got, tt.failure) {
				t.Errorf("failure %q, want something of %q", got, tt.failure)
			}
			w.say(messageOf(t, 3, tt.q), messageOf(t, 3, tt.q))
		})
	}
	w.say(callOf(t, 50, 0, "echo", "alive"))
	if v, _ := w.returned(50); v != "alive" || b.Err() != nil {
		t.Errorf("afterwards: %v, %v", v, b.Err())
	}
}

// TestNeverRead: a peer that asks and does not read costs bounded memory, and
// the connection in the end.
func TestNeverRead(t *testing.T) {
	big := func(in *broker.Incoming, _ []any) { in.Return(value(make([]byte, 256<<10))) }
	t.Run("too much", func(t *testing.T) {
		c, s := tcp(t)
		var running sync.WaitGroup
		running.Add(100)
		o := &methods{concurrent: true,
			m: map[string]method{"big": func(in *broker.Incoming, args []any) {
				running.Done()
				running.Wait()
				big(in, args)
			}}}
		w, b := against(t, c, s, broker.Config{Root: o,
			Limits: broker.Limits{Queued: 2 << 20, WriteStall: 100 * time.Millisecond}})
		w.greet()
		var calls [][]byte
		for q := range 100 {
			calls = append(calls, callOf(t, q+1, broker.FlagFinal, "big"))
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		w.say(calls...)
		b.Wait() // answers that found no room have given up
		runtime.GC()
		runtime.ReadMemStats(&after)
		if !errors.Is(b.Err(), broker.ErrSlowReader) {
			t.Errorf("Err = %v, want ErrSlowReader", b.Err())
		}
		if n := int64(after.HeapAlloc) - int64(before.HeapAlloc); n > 16<<20 {
			t.Errorf("%d MiB are held", n>>20)
		}
	})
	t.Run("too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := net.Pipe()
			o := &methods{m: map[string]method{"big": big}}
			w, b := against(t, c, s, broker.Config{Root: o})
			start := time.Now()
			w.greet()
			w.say(callOf(t, 1, broker.FlagFinal, "big"))
			<-b.Done()
			if d := time.Since(start); !errors.Is(b.Err(), broker.ErrSlowReader) ||
				d > 12*time.Second {
				t.Errorf("Err = %v after %v, want ErrSlowReader", b.Err(), d)
			}
		})
	})
	t.Run("gives no window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := net.Pipe()
			o := &methods{m: map[string]method{"big": big}}
			w, b := against(t, c, s, broker.Config{Root: o, Limits: broker.Limits{Keepalive: -1}})
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
			w.greet()
			w.say(callOf(t, 1, broker.FlagFinal, "big"), callOf(t, 2, broker.FlagFinal, "big"))
			<-b.Done()
			if !errors.Is(b.Err(), broker.ErrSlowReader) {
				t.Errorf("Err = %v, want ErrSlowReader", b.Err())
			}
		})
	})
}

// TestAnswerTooLarge: an answer over this side's limit, which an honest peer
// does not send, fails its call with an error that says whose limit it is.
func TestAnswerTooLarge(t *testing.T) {
	for name, n := range map[string]int{"whole": 3000, "pieces": 300 << 10} {
		t.Run(name, func(t *testing.T) {
			c, s := tcp(t)
			deadline(t, c)
			w, b := against(t, c, s, broker.Config{Limits: broker.Limits{Message: 2000}})
			w.greet()
			q := ask().to(t, b, "large")
			m, err := w.hear()
			if err != nil {
				t.Fatal(err)
			}
			if p := messageOf(t, 2, m[1], make([]byte, n)); n < 64<<10 {
				w.say(p)
			} else {
				w.sayParts(p[4:])
			}
			_, err = q.wait(t)
			if !errors.Is(err, broker.ErrTooLarge) || !strings.Contains(err.Error(),
				"this side takes 2000 (Limits.Message)") || q.outcome != broker.Executed {
				t.Errorf("%v, %v", q.outcome, err)
			}
			if b.Err() != nil {
				t.Error(b.Err())
			}
		})
	}
}

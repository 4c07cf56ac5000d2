// Package harness gives the same work to different RPC systems and says what it
// cost each of them.
//
// A [Contestant] is a server and a client of one system. The driver, which is
// this program as it was started, runs both as processes of their own (this
// program started again) and tells them what to do in lines of JSON. A round
// gives every workload to every contestant in turn, in an order that changes, so
// that what disturbs the machine for a while disturbs all of them. What is
// compared is always the figures of one round; the median of those ratios is
// what is reported.
//
// [Pages] are served in the same way, for the cost of a web server that is
// split into processes.
//
// It runs on Linux, whose /proc it reads.
package harness

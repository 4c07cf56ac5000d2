// Package contestants has a file for each RPC system, and one for each way to
// serve web pages. To import it is to register them.
package contestants

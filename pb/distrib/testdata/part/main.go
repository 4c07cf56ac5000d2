// Command part is a back end that is a program of its own. It answers the orders of a test: "who"
// tells its version, its arguments, its folder and its user, "read FILE" reads a file.
package main

import (
	"fmt"
	"os"
	"strings"

	"perspective/pb/distrib"
)

var version = "1"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	h, err := distrib.Inherited()
	if err != nil {
		return err
	}
	if err := h.Confine(); err != nil {
		return err
	}
	orders, err := h.File("orders")
	if err != nil {
		return err
	}
	if err := h.Ready(); err != nil {
		return err
	}
	buffer := make([]byte, 4096)
	for {
		n, err := orders.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := orders.WriteString(do(string(buffer[:n]))); err != nil {
			return err
		}
	}
}

func do(order string) string {
	verb, arg, _ := strings.Cut(order, "\x00")
	switch verb {
	case "who":
		dir, err := os.Getwd()
		return fmt.Sprintf("version %s %q in %s (%v) user %d %q", version, os.Args, dir, err,
			os.Getuid(), os.Environ())
	case "read":
		text, err := os.ReadFile(arg)
		return fmt.Sprintf("%s %v", text, err)
	default:
		return "no such order"
	}
}

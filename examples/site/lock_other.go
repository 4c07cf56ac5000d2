//go:build !unix

package main

import "os"

func lock(*os.File) error { return nil } // there are no instances here to wait for

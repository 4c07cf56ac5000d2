//go:build !unix

package distrib

func letHeapGrow() {}

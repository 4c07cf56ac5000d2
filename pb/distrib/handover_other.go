//go:build !linux

package distrib

func inherit() (*Handover, error) { return nil, ErrNotManaged }

func forbidExec() error { return ErrUnsupported }

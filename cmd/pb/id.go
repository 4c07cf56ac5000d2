package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"perspective/pb"
)

const idHelp = `Prints the node id of the key in FILE alone on the first line, and where the key
lies on the second. A file that is missing is made, mode 0600, with a new key.
Without FILE it is perspective/key in the user's folder for configuration.

The node id is what others write in pb://NODEID@host:port/ to reach the node that
has the key, and what they list to let it in. Give FILE as --key to show it.`

func idCommand() *cli.Command {
	return &cli.Command{
		Name:        "id",
		Usage:       "print a node id, making its key if there is none",
		ArgsUsage:   "[FILE]",
		Description: idHelp,
		Action:      id,
	}
}

func id(_ context.Context, c *cli.Command) error {
	args, err := arguments(c, 0, 1)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		file, err := usualKeyFile()
		if err != nil {
			return err
		}
		args = []string{file}
	}
	file := args[0]
	key, err := pb.LoadKey(file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s\n%s\n", key.NodeID(), file)
	return err
}

// usualKeyFile is where a user's key lies. It makes the folder.
func usualKeyFile() (string, error) {
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", usage("there is no folder for configuration, name a FILE: %v", err)
	}
	folder = filepath.Join(folder, "perspective")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("pb: %w", err)
	}
	return filepath.Join(folder, "key"), nil
}

package cred

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"perspective/internal/prefix"
)

// WriteEntry puts a user's line into a password file, in place of the one that was there or else
// at the end. All other lines stay as they are. The file is made, with mode 0600, if it is missing.
//
// Readers see the old file or the new one, never half of either, and the new one is on the disk
// when WriteEntry returns. The new content is first written to the path with ".new" added; while
// that file exists nobody else can change the password file, and WriteEntry says so. Owner, group
// and mode of the old file are kept as far as the process may, but the rights of others, and of the
// group to write, are dropped. A symbolic link is followed.
//
// phc is what Hash made. The errors are ErrBadUsername, ErrMalformedHash and those of the file
// system.
func WriteEntry(path, user, phc string) (err error) {
	if err := checkUsername(user); err != nil {
		return err
	}
	if _, err := parsePHC(phc); err != nil {
		return err
	}
	if path, err = followLinks(path); err != nil {
		return prefix.Errorf("cred: password file: %w", err)
	}
	temporary := path + ".new"
	// O_EXCL makes it the lock as well: of two writers that read the same old file, one would lose
	// the other's line.
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cred: password file is being changed by somebody else: try again, or "+
			"remove %s if nobody is: %w", temporary, err)
	}
	if err != nil {
		return prefix.Errorf("cred: password file: %w", err)
	}
	renamed := false
	defer func() {
		if err != nil && !renamed {
			// The first error is the one to report.
			_ = file.Close()
			_ = os.Remove(temporary)
		}
		if err != nil {
			err = prefix.Errorf("cred: password file: %w", err)
		}
	}()

	old, info, err := readOld(path)
	if err != nil {
		return err
	}
	if _, err := file.Write(withEntry(old, user, phc)); err != nil {
		return err
	}
	if info != nil {
		if err := keepRights(file, info); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	renamed = true // from here on the temporary name may be another writer's
	return syncFolder(filepath.Dir(path))
}

// followLinks gives the file that a path leads to, so that a link is not replaced by a file.
func followLinks(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return "", fmt.Errorf("%s is a link that leads nowhere", path)
		}
		return path, nil
	}
	return target, err
}

// readOld gives the content of the file as it is; a nil FileInfo means that there is none yet.
// Rights are not judged: writing is how they are put right.
func readOld(path string) ([]byte, os.FileInfo, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > maxPasswdFileBytes {
		return nil, nil, fmt.Errorf("%s is larger than %d MiB", path, maxPasswdFileBytes>>20)
	}
	data, err := os.ReadFile(path)
	return data, info, err
}

// withEntry gives the file's content with the user's line in it. Lines of the same user after the
// first are dropped, since a file with two is refused.
func withEntry(old []byte, user, phc string) []byte {
	entry := []byte(user + ":" + phc + "\n")
	var content []byte
	written := false
	for line := range bytes.Lines(old) {
		name, _, skip, err := passwdLine(string(line))
		if err == nil && !skip && name == user {
			if !written {
				content = append(content, entry...)
			}
			written = true
			continue
		}
		content = append(content, line...)
	}
	if written {
		return content
	}
	if n := len(content); n > 0 && content[n-1] != '\n' {
		content = append(content, '\n')
	}
	return append(content, entry...)
}

// keepRights gives the new file the owner and mode of the old one.
func keepRights(file *os.File, old os.FileInfo) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	mode := old.Mode().Perm() & 0o640
	if err := keepOwner(file, old); err != nil {
		// Without root the new file belongs to the caller's user and group. The old group's right
		// to read must not pass to that other group.
		mode &= 0o600
	}
	return file.Chmod(mode)
}

// syncFolder brings a rename to the disk.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // folders can't be opened for this there
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

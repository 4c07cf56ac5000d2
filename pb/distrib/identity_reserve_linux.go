package distrib

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reservations hold user ids for one monitor. Each id is a byte of one file, locked by that
// monitor's own opening of it, so the kernel gives all of them back when the monitor ends, however
// it ends. Only root may open the file: nobody else can take ids away.
type reservations struct {
	file *os.File
}

// reservationFile lies where only root makes files and what is there ends with the machine.
// Monitors that see each other's processes but not one /run are not told apart; those still have
// usedIDs.
const reservationFile = "/run/perspective-ids.lock"

// openReservations opens the file, or makes it.
func openReservations() (*reservations, error) { return openReservationsAt(reservationFile) }

func openReservationsAt(path string) (*reservations, error) {
	fd, err := unix.Open(path,
		unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("distrib: reserve user ids: open %s: %w", path, err)
	}
	r := &reservations{os.NewFile(uintptr(fd), path)}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(fmt.Errorf("distrib: reserve user ids: %s: %w", path, err),
			r.close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o077 != 0 || int(st.Uid) != os.Geteuid() {
		return nil,
			errors.Join(
				fmt.Errorf("distrib: reserve user ids: %s is not a file of user %d's that nobody "+
					"else may open; remove it",
					path, os.Geteuid()), r.close())
	}
	return r, nil
}

// take reserves an id and says false where another monitor has it.
func (r *reservations) take(id uint32) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(id), Len: 1}
	err := unix.FcntlFlock(r.file.Fd(), unix.F_OFD_SETLK, &lock)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("distrib: reserve user id %d: %w", id, err)
	}
	return true, nil
}

// give gives one id back.
func (r *reservations) give(id uint32) error {
	lock := unix.Flock_t{Type: unix.F_UNLCK, Start: int64(id), Len: 1}
	return unix.FcntlFlock(r.file.Fd(), unix.F_OFD_SETLK, &lock)
}

// close gives everything back.
func (r *reservations) close() error { return r.file.Close() }

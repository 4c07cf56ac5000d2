package distrib

import "fmt"

// CheckName says what is wrong with a name for a back end or a mount; nil: nothing.
func CheckName(name string) error {
	if !validName(name) {
		return fmt.Errorf("distrib: %q is no name, use up to %d letters, digits and ._~-", name,
			maxName)
	}
	return nil
}

// CheckPrefix says what is wrong with a prefix that Site.Handle would be given; nil: nothing.
func CheckPrefix(prefix string) error {
	_, err := cleanPrefix(prefix)
	return err
}

package pb

import "errors"

// Kw holds keyword arguments, for methods of Twisted peers. It is the last argument of a call; its values cross as other
// arguments do. The native wire has no keyword arguments: there a call that ends with a Kw is refused with ErrKeywords
// before anything is sent.
type Kw map[string]any

// ErrKeywords refuses a call with a Kw on a connection whose wire has no keyword arguments.
var ErrKeywords = errors.New("pb: keyword arguments need Twisted's wire; pass them in order, or in a map")

// refuseKeywords returns ErrKeywords if args end with a Kw. The native wire's calls ask it before they encode anything.
func refuseKeywords(args []any) error {
	if len(args) == 0 {
		return nil
	}
	if _, ok := args[len(args)-1].(Kw); ok {
		return ErrKeywords
	}
	return nil
}

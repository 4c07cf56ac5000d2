package pb

import (
	"context"
	"errors"
	"reflect"

	"perspective/jelly"
)

// Target is what methods can be called on.
type Target interface{ jelly.Reference }

// callReflect calls method on on and waits for the answer. result is nil if only the error is wanted.
func callReflect(ctx context.Context, on Target, method string, args []reflect.Value, result reflect.Type) (reflect.Value, error) {
	return reflect.Value{}, errors.New("pb: no connection")
}

// callerAvatar returns the avatar of the peer whose call ctx belongs to, or nil.
func callerAvatar(ctx context.Context) any { return nil }

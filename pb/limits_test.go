package pb

import (
	"reflect"
	"testing"
	"time"

	"perspective/broker"
	"perspective/jelly"
)

// TestLimitsReachTheBroker shows that each field of broker.Limits is a field of Limits, of the
// same name and type, and that its value arrives.
func TestLimitsReachTheBroker(t *testing.T) {
	var limits Limits
	v := reflect.ValueOf(&limits).Elem()
	of := reflect.TypeFor[broker.Limits]()
	for i := range of.NumField() {
		f := v.FieldByName(of.Field(i).Name)
		switch {
		case !f.IsValid() || f.Type() != of.Field(i).Type:
			t.Fatalf("Limits has no %s %v", of.Field(i).Name, of.Field(i).Type)
		case f.CanInt():
			f.SetInt(int64(i + 1))
		default:
			f.Set(reflect.ValueOf(jelly.Limits{Depth: i + 1}))
		}
	}
	got := reflect.ValueOf(limits.ofConn())
	for i := range of.NumField() {
		name := of.Field(i).Name
		if want := v.FieldByName(name); !got.Field(i).Equal(want) {
			t.Errorf("ofConn() gives %s = %v, want %v", name, got.Field(i), want)
		}
	}
}

// TestLimitsOfANode has the defaults that are not package broker's.
func TestLimitsOfANode(t *testing.T) {
	want := Limits{
		Unauthenticated: 16,
		Backlog:         256,
		Refused:         64,
		Login:           10 * time.Second,
		Handshake:       10 * time.Second,
		LoginMessage:    64 << 10,
		LoginCalls:      16,
		LoginBytes:      64 << 10,
		LoginMemory:     1 << 20,
	}
	if got := (Limits{}).withDefaults(); got != want {
		t.Errorf("defaults of Limits = %+v, want %+v", got, want)
	}
	if got := (Limits{Login: time.Minute}).withDefaults().Handshake; got != time.Minute {
		t.Errorf("Handshake with Login = 1m is %v, want 1m", got)
	}
	stranger := broker.Stranger{Message: 64 << 10, Calls: 16, CallBytes: 64 << 10, Memory: 1 << 20}
	if got := want.beforeLogin(); got != stranger {
		t.Errorf("beforeLogin() = %+v, want %+v", got, stranger)
	}
}

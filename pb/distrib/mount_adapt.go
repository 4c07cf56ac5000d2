package distrib

import "perspective/pb/adapt"

// The methods that stand in the way of every request are called without reflection.
func init() {
	adapt.Methods(
		adapt.Func1("RemoteServe", (*mountObject).RemoteServe),
		adapt.Func1("RemoteOnce", (*mountObject).RemoteOnce),
		adapt.Func2("RemoteUpload", (*mountObject).RemoteUpload),
		adapt.Func1("RemoteBody", (*mountObject).RemoteBody),
		adapt.Func1("RemoteTunnel", (*mountObject).RemoteTunnel),
		adapt.Proc1("RemoteCancel", (*mountObject).RemoteCancel),
	)
	adapt.Methods(
		adapt.Proc1("RemoteStart", (*gate).RemoteStart),
	)
}

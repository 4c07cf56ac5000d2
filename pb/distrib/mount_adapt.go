package distrib

import "perspective/pb"

// The methods that stand in the way of every request are called without reflection.
func init() {
	pb.Adapt(
		pb.Func1("RemoteServe", (*mountObject).RemoteServe),
		pb.Func1("RemoteOnce", (*mountObject).RemoteOnce),
		pb.Func2("RemoteUpload", (*mountObject).RemoteUpload),
		pb.Func1("RemoteBody", (*mountObject).RemoteBody),
		pb.Proc1("RemoteCancel", (*mountObject).RemoteCancel),
	)
	pb.Adapt(
		pb.Proc1("RemoteStart", (*gate).RemoteStart),
	)
}

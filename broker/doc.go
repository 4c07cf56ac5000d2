// Package broker runs one connection between two processes that call each
// other's objects. It moves calls, answers, references and byte streams; it
// knows nothing of Go methods and does no reflection: what an [Object] is, and
// how arguments and results become values, is the business of the layer above,
// package pb. The bytes are specified in docs/wire-native.md.
//
// The two things to know first are [New], which starts a [Broker] over any
// io.ReadWriteCloser, and [Broker.Ask], which sends one call:
//
//	b, err := broker.New(conn, broker.Config{Dialer: true, Errors: myErrors})
//	...
//	var call broker.Call
//	err = b.Ask(ctx, &broker.Header{Export: 1, Method: "Hello", Call: &call}, question)
//
// The question's EncodeArgs has written the arguments when Ask returns, and its
// Finish is called once: after the answer, or when the connection has ended.
// On the other side the object that was exported as number 1 is asked for the
// method, which gets an [Incoming] and answers with Return, Fail or Refuse.
//
// # The way of a call
//
//	caller                                callee
//
//	Ask: EncodeArgs, then credit
//	  | waits while the peer's budget
//	  | is used up (nested: never)
//	  v
//	asked: it has a number  -- CALL -->   placed: counted, method looked up
//	  |                                     |            \
//	  |                                     |             waiting on an answer
//	  |                                     v            /  that is not there
//	  |                                   queued behind the object's other calls
//	  |                                     |
//	  | Cancel -------------- FINISH -->    | its turn comes, a permit is free
//	  |                       (context      v
//	  |                        ends)      Invoke: Args, Begin
//	  |                                     |
//	  | Note   <------------- NOTE --       | the turn ends when Invoke returns,
//	  v                                     v or with EndTurn
//	answered: Finish   <--- RETURN --     settled: calls on the answer start
//	  |                                     |
//	  v nobody pipelines on it any more     v
//	number free  ------------ FINISH -->  forgotten
//
// A final call skips the last step; a oneway call has no number and no RETURN,
// and gives its credit back in a CREDIT. A call that is refused anywhere before
// Begin is answered as not executed.
//
// # What always holds
//
//   - Every call that is not oneway gets exactly one RETURN, and every question
//     that Ask took is finished exactly once.
//   - What is said not to have been executed was not: no byte of it was given
//     to a write, or the peer refused it before its method began.
//   - Calls to one object over one connection begin in the order in which they
//     were made, whatever their size. A long message holds the place of its
//     first piece. An object has one queue for each connection, whatever ids it
//     goes by and however often it is released and lent again.
//   - Calls on an answer begin before any that is made on the object once the
//     answer is known.
//   - The reader never waits: not for a method, a caller, a lock that is held
//     while something is waited for, or a write.
//   - What a peer sends costs bounded memory: [Limits] has a field for
//     everything that it could pile up. Over a budget it loses that call or
//     stream; only a broken rule ends the connection, with an ABORT that says
//     which.
//   - A question's number is not used again before its FINISH has taken its
//     place among what is sent.
//   - When Done is closed all tables are empty; when Wait returns no goroutine
//     of the connection is left.
//
// # Rooms
//
// A Broker is the session: it has the tables, and knows no frame and no socket: only New, UnderTLS
// and some fields of Limits hand something on to the native wire. What carries its
// messages is a wire ([perspective/broker/wire]): the native one of [perspective/broker/link], or
// one that [NewOver] is given, as the one in memory of [perspective/broker/memwire]. Everything
// that a wire does with a session is in session.go.
//
// # Locks
//
// A lock is never held while a method of the layer above is called, or while something is waited
// for. These are taken in this order, from the left: answers.mu, exports.mu, queue.mu, permits.mu,
// workers.mu; answers.mu, imports.mu; questions.mu, and Incoming's callContext.mu, before those of
// the wire (see package link) and of package budget, which call nobody; queue.mu before
// callContext.mu. endMu comes before the wire's; syncs.mu, dropped.mu and callStreams.mu are taken
// alone.
package broker

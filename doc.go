// Package perspective stands at the root of the module and holds no code: its tests keep the rules
// of the house, which CONTRIBUTING.md tells. A program imports perspective/pb, and perspective/cred
// if it has users.
package perspective

// Package e2e starts the whole program in process on free ports and drives it with
// real clients, as users and attackers would. It holds tests only.
package e2e

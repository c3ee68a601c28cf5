// Package script runs the scripts of steps and predicates, in CEL, Lua and Ale.
//
// None of the three can be held inside a process of ours (decision 13), so all
// run in child processes, `sluice script`: without files, network, environment
// or clock, with a limit of memory, and killed and replaced at the end of their
// time. A [Pool] has the children and is what others use; [Serve] is the child.
package script

// Package subject names everything that Sluice puts on NATS: it builds and reads
// every subject, so that nobody spells one by hand.
//
// In subjects and keys every byte of an id outside A-Za-z0-9_- is written =XX
// (upper-case hexadecimal), so that an id is one token of a subject.
package subject

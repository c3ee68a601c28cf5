// Package conf reads settings into structs, from the environment, from files
// that hold secrets and from flags, and reports every mistake together.
//
// A setting is a field with the tags env (its name), envDefault and help;
// secret:"true" marks one that is never shown and that NAME_FILE may give.
package conf

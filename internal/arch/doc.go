// Package arch holds the test of the direction of imports: which package of this
// module may know which other, and which libraries it must not touch, one row
// with its reason each (rules_test.go). Nothing imports it and it imports
// nothing of ours: it reads the source.
//
// Files of tests are exempt, whatever they import: a test may wire real parts
// together, and cycles, the one thing that would hurt there, are refused by the
// compiler.
package arch

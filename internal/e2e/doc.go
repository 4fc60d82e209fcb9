// Package e2e holds the tests of the whole product: real processes of the real
// binary, a real Redis, and stand-ins for the ai-server and the channel manager
// that write down what they receive. They are the judge: what the product says
// of itself is compared with what arrived outside.
//
// The tests run on the clock of the machine, over some minutes, side by side.
package e2e

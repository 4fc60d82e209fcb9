// Package chaos holds the test that kills the product while it works, and then
// counts: real processes of the real binary behind proxies that can cut them off
// from a real Redis, an ai-server and a chat that misbehave and write down
// everything, and a plan of kills, freezes and cuts that follows from one number.
//
// TestChaos takes some minutes, side by side with other tests; make chaos is the
// same test with other numbers and takes about 25. What it found is decided by
// package judge, which knows nothing of the product.
package chaos

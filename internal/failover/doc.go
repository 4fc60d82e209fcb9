// Package failover holds the tests of deployments of Redis that are more than one
// server: Sentinel and Cluster lose the server that has our records in the middle of
// the work, and TLS and an ACL user keep us to what we documented. The processes are
// real ones of the real binary, and the judges are the answers that a client of the API
// got and what the ai-server wrote down.
package failover

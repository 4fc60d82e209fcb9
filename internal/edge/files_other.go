//go:build !unix

package edge

import "math"

// maxFiles returns how many files the process may open: there is no bound here.
func maxFiles() int { return math.MaxInt32 }

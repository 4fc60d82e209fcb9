// Package jobfield owns the table of the fields of a job's definition: how each is called,
// what it may hold, and what is said of it. The record in Redis, the API with its
// description, the export, the audit, the flags of the command line, the arguments of the
// tools and the table of docs/api.md are made of it.
//
// A field is a line of this table and one of job.Spec. The package imports nothing of ours,
// so that whoever knows a job by the API alone can use it.
package jobfield

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what the values of a field are.
type Kind int

// Kinds of fields, and the type that each has in job.Spec.
const (
	Text       Kind = iota // string; of several lines
	Line                   // string
	Identifier             // string without spaces
	Chat                   // an Identifier that may be sent as a whole number
	Channel                // string, the name of a channel
	Word                   // string, one of Choices
	Cron                   // string
	Zone                   // string, an IANA name
	Number                 // int, or *int where 0 is not the same as nothing
	Seconds                // int
	Truth                  // bool
	MaybeTruth             // *bool, nil for unknown
	Instant                // UTC milliseconds
	Labels                 // []string
	Delays                 // []int, seconds
)

// Field is a field of a job's definition.
type Field struct {
	Name   string // on the wire
	Stored string // in Redis, where that is not Name
	Kind   Kind

	// Low and Most bound a number, or each entry of Delays. Most is also the most bytes of a
	// text, and Length the most entries of a list.
	Low, Most, Length int
	Choices           []string // of a Word; the first is the default
	Default           any      // what is in force where it is left out, if that can be said: as in job.Spec
	Example           string   // JSON

	Timing   bool   // it says when the job runs
	Required bool   // to make a job
	Instead  string // the field in whose place it stands; "" for none
	NoNull   bool   // null does not put the default back: see Enabled in the table
	Always   bool   // every answer has it

	// Text says what it is, in sentences of the documentation, with names in backquotes.
	Text string
	// More is what docs/api.md says beside that, and Values of the values, where the above
	// does not say it.
	More, Values string

	Flag  string // of the command line; "" is none
	Usage string // of the flag, where that is not Text
	// Tool is what a tool says of it: models pay for each word. "" offers it to none, though
	// all are taken.
	Tool, ToolExample string
}

// All returns the table, which is shared by all callers and must not be changed: it is gone
// over with each record that is read.
func All() []Field { return slices.Clip(table) }

// Named returns the field of that name on the wire.
func Named(name string) (Field, bool) {
	i := slices.IndexFunc(table, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return table[i], true
}

// Key is the name of the field in Redis.
func (f Field) Key() string {
	if f.Stored != "" {
		return f.Stored
	}
	return f.Name
}

// InForce reports whether a job has a value where nobody set one.
func (f Field) InForce() bool {
	switch d := f.Default.(type) {
	case nil, bool:
		return false
	case int:
		return d != 0
	case string:
		return d != ""
	default:
		return true
	}
}

// Optional reports whether 0 is not the same as nothing, though it has a default.
func (f Field) Optional() bool { return f.Kind == Number && f.Low == 0 && f.InForce() }

// Plain is Text without backquotes.
func (f Field) Plain() string { return strings.ReplaceAll(f.Text, "`", "") }

// Problem says what is wrong with a number, or with an entry of a list; "" if nothing is.
func (f Field) Problem(n int) string {
	if n < f.Low || n > f.Most {
		return fmt.Sprintf("must be a whole number from %d to %d", f.Low, f.Most)
	}
	return ""
}

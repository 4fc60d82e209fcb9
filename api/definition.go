package api

import (
	"bytes"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/jobfield"
)

// definition is what a client defined of a job, on the wire: its fields in the order of the
// table. A policy that nobody set is there with the default in force; what else has no value
// is absent.
type definition struct {
	spec job.Spec
	// line is the form of an export: times as RFC 3339, and only what has a value, so that
	// equal definitions are equal lines.
	line bool
}

func (d definition) MarshalJSON() ([]byte, error) {
	s := d.spec.WithDefaults()
	if d.line {
		s.RetryDelaysSeconds = d.spec.RetryDelaysSeconds // the store does not keep the default either
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, f := range jobfield.All() {
		v := job.ValueOf(&s, f)
		if job.Empty(v) && !d.always(f) {
			continue
		}
		value := v.Interface()
		if d.line && f.Kind == jobfield.Instant {
			value = instantText(job.Millis(v.Int()))
		}
		text, err := encodeLine(value)
		if err != nil {
			return nil, err
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + f.Name + `":`)
		b.Write(bytes.TrimSpace(text))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// always reports whether a field is there without a value.
func (d definition) always(f jobfield.Field) bool {
	if d.line {
		return f.Required || f.Kind == jobfield.Truth && f.Always
	}
	return f.Always
}

// asOne renders values that are objects as one object, the members of the first before those
// of the next.
func asOne(parts ...any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, part := range parts {
		text, err := encodeLine(part)
		if err != nil {
			return nil, err
		}
		members := bytes.TrimSpace(text)
		members = members[1 : len(members)-1]
		if len(members) > 0 && b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(members)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// identity begins what is said of a job.
type identity struct {
	ID string `json:"id"`
}

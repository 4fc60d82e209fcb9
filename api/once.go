package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// maxOnceBytes bounds an Idempotency-Key.
const maxOnceBytes = 200

// readOnce reads the Idempotency-Key of a request, whose body says what is asked for
// besides the path; the query of those that take a key only says how to answer. A key is
// its actor's own; nothing of it is kept but a hash. Without the header there is none.
func readOnce(r *http.Request, body []byte) ([]job.Once, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil, nil
	}
	key := strings.TrimSpace(values[0])
	if len(values) > 1 || key == "" || len(key) > maxOnceBytes ||
		strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return nil, invalid("Idempotency-Key", fmt.Sprintf("must be sent once, with 1 to %d printable ASCII characters", maxOnceBytes),
			"8f1c2e9a-create-morning-summary")
	}
	caller := job.ActorOf(r.Context())
	if t := job.TokenOf(r.Context()); t != nil {
		caller = "token " + t.ID // names may be the same
	}
	asked := []string{r.Method, r.URL.EscapedPath(), string(body)}
	if run := job.OriginOf(r.Context()).Run; run != "" {
		asked = append(asked, run)
	}
	return []job.Once{{Key: digest(caller, key), Print: digest(asked...)}}, nil
}

// digest is a hash of several texts, in a form that is safe in a key.
func digest(texts ...string) string {
	h := sha256.New()
	for _, text := range texts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(text), text) // never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

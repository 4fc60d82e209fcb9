package api

import (
	"cmp"
	"context"
	"net/http"
)

// Protect puts another handler behind the guard of the API: whoever may not call the
// API is answered here, as the API would. It is for what calls the API on behalf of its
// own callers, and must pass their token on. How often is not limited here: each call of the
// API is, by what it asks for. What the calls hold has bounds as large as those of the API,
// for itself; calls that stop something are served beyond them.
func Protect(o Options, next http.Handler, stops func(*http.Request) bool) http.Handler {
	if o.Guesses == nil {
		o.Guesses = o.newGuesses()
	}
	s := &server{Options: o, tokens: newTokenCache(o.Tokens, o.Now), answering: newShares(cmp.Or(o.MaxUnread, defaultMaxUnread))}
	return identify(s.logRequests(s.recoverPanics(secureHeaders(onReserve(s.guard()(s.limitCalls(next, stops)))))))
}

type checkedKey struct{}

// Checked has the API serve calls from within the process, whose token Protect has looked
// at: they come from no address, and must not wait for those who guess there.
func Checked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), checkedKey{}, true)))
	})
}

func wasChecked(r *http.Request) bool { return r.Context().Value(checkedKey{}) != nil }

package api

import (
	"cmp"
	"net/http"
)

// Protect puts another handler behind the guard of the API: whoever may not call the
// API is answered here, as the API would. It is for what calls the API on behalf of its
// own callers, and must pass their token on. How often is not limited here: each call of the
// API is, by what it asks for. What the calls hold has bounds as large as those of the API,
// for itself.
func Protect(o Options, next http.Handler) http.Handler {
	s := &server{Options: o, tokens: newTokenCache(o.Tokens, o.Now), answering: newShares(cmp.Or(o.MaxUnread, defaultMaxUnread))}
	return identify(s.logRequests(s.recoverPanics(secureHeaders(onReserve(s.guard()(s.limitCalls(next)))))))
}

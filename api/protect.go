package api

import "net/http"

// Protect puts another handler behind the guard of the API: whoever may not call the
// API is answered here, as the API would. It is for what calls the API on behalf of its
// own callers, and must pass their token on. Nothing is limited here: each call of the API
// is, by what it asks for.
func Protect(o Options, next http.Handler) http.Handler {
	s := &server{Options: o, tokens: newTokenCache(o.Tokens, o.Now)}
	return identify(s.logRequests(s.recoverPanics(secureHeaders(onReserve(s.guard()(next))))))
}

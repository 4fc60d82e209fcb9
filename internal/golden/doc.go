// Package golden holds what releases have left in Redis, and tests that this build still
// reads it, tells the same of it, and carries on with it.
//
// testdata has a directory for each release, made by the release's own binary:
//
//	about.json             which release, and when
//	redis.jsonl            every key of a busy deployment that was stopped
//	answers.jsonl          what the release itself told of it
//	export.jsonl           its export
//	previews.jsonl         the next slots of each exported job
//	paused/redis.jsonl     the keys that a pause of everything changed
//	paused/answers.jsonl   what the release told then
//
// None of it is edited by hand. docs/testing.md says how it is made.
package golden

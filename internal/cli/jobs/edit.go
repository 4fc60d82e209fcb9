package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

func (t *tool) edit() *cobra.Command {
	var (
		d      *draft
		clears []string
		file   string
		editor bool
	)
	cmd := t.command("edit JOB", "change a job",
		`  gateway-cron job edit JOB --schedule "30 8 * * 1-5" --tz Europe/Berlin
  gateway-cron job edit JOB --task-file task.md
  gateway-cron job edit JOB --clear model,effort
  gateway-cron job edit JOB --editor`,
		one("job"), func(cmd *cobra.Command, args []string) error {
			body, err := d.body(cmd)
			if err != nil {
				return err
			}
			if err := t.readTask(cmd, body, file); err != nil {
				return err
			}
			if err := clearFields(cmd, body, clears); err != nil {
				return err
			}
			switch {
			case editor && len(body) > 0:
				return usage(cmd, "--editor goes without other changes")
			case editor:
				return t.editInEditor(cmd.Context(), args[0])
			case len(body) == 0:
				return usage(cmd, "nothing to change: give a flag for what is to be otherwise, or --editor")
			}
			return t.onJob(cmd.Context(), args[0], func(id string) error {
				a, err := t.call(cmd.Context(), client.Request{Method: http.MethodPatch, Path: client.Path("jobs", id), Body: body})
				if err != nil {
					return withSuggestion(err, body)
				}
				return t.tellJob("changed", body, a)
			})
		})
	cmd.Long = `Change what the flags name; all else stays. Of --schedule, --every, --in and --at the one
that is given takes the place of the others. --clear takes fields back to their default.
--editor opens all fields in $VISUAL or $EDITOR, and is refused if somebody else changed
the job meanwhile.`
	d = newDraft(cmd, t.Now, func(field) bool { return true })
	t.completeFlags(cmd)
	cmd.Flags().StringVar(&file, "task-file", "", "file with the task; - for standard input")
	cmd.Flags().StringSliceVar(&clears, "clear", nil, "fields to take back to their default, by the names of their flags")
	cmd.Flags().BoolVar(&editor, "editor", false, "edit the job as JSON in $VISUAL or $EDITOR")
	cmd.ValidArgsFunction = t.completeJobs
	return cmd
}

// clearFields puts a null for each field that is to be cleared.
func clearFields(cmd *cobra.Command, body map[string]any, names []string) error {
	other := synonyms()
	for _, name := range names {
		flag := kebab(strings.TrimPrefix(strings.TrimSpace(name), "--"))
		if ours, ok := other[flag]; ok {
			flag = ours
		}
		known := false
		for _, f := range fields() {
			if f.flag != flag {
				continue
			}
			if _, set := body[f.api]; set {
				return usage(cmd, "--%s and --clear %s exclude each other", f.flag, name)
			}
			known, body[f.api] = true, nil
		}
		if !known {
			return usage(cmd, "--clear %q: there is no such field; one has the name of its flag", name)
		}
	}
	return nil
}

// editInEditor lets somebody edit the job as JSON and sends what is different.
func (t *tool) editInEditor(ctx context.Context, text string) error {
	a, err := t.getJob(ctx, text)
	if err != nil {
		return err
	}
	shown, err := answer[client.Job](a)
	if err != nil {
		return err
	}
	r := client.Request{Method: http.MethodPatch, Path: client.Path("jobs", shown.ID)}
	before, err := answer[map[string]json.RawMessage](a)
	if err != nil {
		return err
	}
	path, err := writeEditable(before)
	if err != nil {
		return err
	}
	if err := t.openEditor(path); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &Failure{Code: exitFailed, Err: errors.New("interrupted; nothing was changed"), Hint: "What you wrote is in " + path}
	}
	changes, err := readChanges(path, before)
	if err != nil {
		return &Failure{Code: exitUsage, Err: err, Hint: "Nothing was changed. What you wrote is in " + path}
	}
	if len(changes) == 0 {
		fmt.Fprintln(t.Stderr, "nothing changed")
		_ = os.Remove(path) // it says nothing new
		return nil
	}
	if tag := a.Header.Get("ETag"); tag != "" {
		r.Header = http.Header{"If-Match": {tag}}
	}
	r.Body = changes
	a, err = t.call(ctx, r)
	if f, ok := errors.AsType[*Failure](err); ok {
		f.Hint = strings.TrimSpace(f.Hint + "\nNothing was changed. What you wrote is in " + path)
		return f
	}
	_ = os.Remove(path) // it is in the job now
	return t.tellJob("changed", changes, a)
}

// writeEditable writes the fields that can be changed to a file of the user's own: a task
// may be private.
func writeEditable(job map[string]json.RawMessage) (string, error) {
	var b bytes.Buffer
	b.WriteString("{")
	sep := "\n"
	for _, f := range fields() {
		raw, ok := job[f.api]
		if !ok || f.kind == kindFromNow || string(raw) == `""` {
			continue
		}
		fmt.Fprintf(&b, "%s  %q: %s", sep, f.api, trimSpace(raw))
		sep = ",\n"
	}
	b.WriteString("\n}\n")
	f, err := os.CreateTemp("", "gateway-cron-job-*.json")
	if err != nil {
		return "", fmt.Errorf("make a file to edit: %w", err)
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("write the file to edit: %w", err)
	}
	return f.Name(), nil
}

func (t *tool) openEditor(path string) error {
	command := strings.Fields(t.Getenv("VISUAL"))
	if len(command) == 0 {
		command = strings.Fields(t.Getenv("EDITOR"))
	}
	if len(command) == 0 {
		command = []string{"vi"}
	}
	editor := exec.Command(command[0], append(command[1:], path)...) //nolint:gosec // the user's own choice of program
	editor.Stdin, editor.Stdout, editor.Stderr = t.Stdin, t.Stderr, t.Stderr
	if t.Terminal.Width > 0 {
		editor.Stdout = t.Stdout // the terminal that it needs
	}
	if err := editor.Run(); err != nil {
		return &Failure{Code: exitFailed, Err: fmt.Errorf("run the editor %s: %w", command[0], err),
			Hint: "Nothing was changed. VISUAL or EDITOR names the editor; the job is in " + path}
	}
	return nil
}

// readChanges reads what was edited and answers what is different, null for what is gone.
func readChanges(path string, before map[string]json.RawMessage) (map[string]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read what was edited: %w", err)
	}
	var after map[string]json.RawMessage
	if err := json.Unmarshal(text, &after); err != nil {
		return nil, fmt.Errorf("what was written is not JSON: %w", err)
	}
	changes := map[string]any{}
	for name, raw := range after {
		if !sameJSON(raw, before[name]) {
			changes[name] = raw
		}
	}
	for _, f := range fields() {
		_, was := before[f.api]
		if _, is := after[f.api]; was && !is && string(before[f.api]) != `""` {
			changes[f.api] = nil
		}
	}
	// Another timing was put in the place of the one that went: to clear that one too
	// would be to say something about it.
	for _, timing := range []string{"schedule", "every", "at"} {
		if raw, ok := changes[timing]; ok && raw == nil {
			delete(changes, timing)
		}
	}
	return changes, nil
}

func sameJSON(a, b json.RawMessage) bool {
	var left, right bytes.Buffer
	if json.Compact(&left, a) != nil || json.Compact(&right, b) != nil {
		return false
	}
	return bytes.Equal(left.Bytes(), right.Bytes())
}

package jobs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
)

// lines is the type of one JSON object a line.
const lines = "application/x-ndjson"

func (t *tool) export() *cobra.Command {
	var output string
	cmd := t.command("export", "write all jobs as lines of JSON", `  gateway-cron job export --output jobs.ndjson
  gateway-cron job export | gateway-cron job import - --url http://other:19790`, none,
		func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, err := t.connect()
			if err != nil {
				return err
			}
			resp, err := c.Open(ctx, client.Request{Method: http.MethodGet, Path: client.Path("export"), Header: http.Header{"Accept": {lines}}})
			if err != nil {
				return t.failed(ctx, err)
			}
			defer resp.Body.Close()
			if output != "" {
				return t.exportTo(output, resp.Body)
			}
			if _, err := io.Copy(t.Stdout, resp.Body); err != nil {
				return &Failure{Code: exitFailed, Err: fmt.Errorf("the export broke off: %w", err), Hint: "What was written is not all."}
			}
			return nil
		})
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write instead of standard output")
	return cmd
}

// exportTo writes a file whole or not at all, for its owner alone: tasks may be private.
func (t *tool) exportTo(name string, from io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".gateway-cron-export-*")
	if err != nil {
		return fmt.Errorf("make the file: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone if all went well
	counted := &lineCounter{}
	_, err = io.Copy(io.MultiWriter(f, counted), from)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the export broke off, %s was not written: %w", name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	fmt.Fprintf(t.Stderr, "wrote %d jobs to %s\n", counted.n, name)
	return nil
}

type lineCounter struct{ n int }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.n += bytes.Count(p, []byte("\n"))
	return len(p), nil
}

func (t *tool) importJobs() *cobra.Command {
	var dryRun bool
	cmd := t.command("import FILE", "make the jobs what a file of JSON lines says", `  gateway-cron job import jobs.ndjson --dry-run
  gateway-cron job import jobs.ndjson
  gateway-cron job import - < jobs.ndjson`, oneFile,
		func(cmd *cobra.Command, args []string) error {
			in := io.NopCloser(t.Stdin)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return usage(cmd, "the file cannot be read: %w", err)
				}
				defer f.Close()
				in = f
			}
			r := client.Request{Method: http.MethodPost, Path: client.Path("import"), Header: http.Header{"Content-Type": {lines}},
				Body: io.Reader(in)}
			if dryRun {
				r.Query = url.Values{"dryRun": {"true"}}
			}
			a, err := t.call(cmd.Context(), r)
			if err != nil {
				return err
			}
			return t.tellImport(a)
		})
	cmd.Long = `Make the jobs of the file's ids what its lines say: each is created, changed, or left alone
if it is the same. Jobs that are not in the file stay. To import again does no harm. The
exit code is 4 if a line was not accepted; the others are imported all the same.`
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func oneFile(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("name one file, or - for standard input")
	}
	return nil
}

func (t *tool) tellImport(a client.Answer) error {
	report, err := answer[client.ImportReport](a)
	if err != nil {
		return err
	}
	if t.json {
		t.printJSON(a.Raw)
	} else {
		would := ""
		if report.DryRun {
			would = "would be: "
		}
		fmt.Fprintf(t.Stdout, "%s%d created, %d updated, %d unchanged, %d failed\n", would, report.Created, report.Updated, report.Unchanged, report.Failed)
	}
	if report.Failed == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d lines were not accepted:", report.Failed)
	for _, line := range report.Problems {
		for _, p := range line.Problems {
			fmt.Fprintf(&b, "\n  line %d %s: %s %s", line.Line, printable(line.ID), printable(p.Field), printable(p.Detail))
			if p.Example != "" {
				fmt.Fprintf(&b, ", for example %s", printable(p.Example))
			}
		}
	}
	return &Failure{Code: exitRefused, Err: errors.New(b.String())}
}

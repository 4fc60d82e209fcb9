// Package recipes carries out recipes of CONTRIBUTING.md on a copy of the tree (make recipes):
// what they say is enough, and nothing of it can be left out unnoticed.
package recipes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edit puts a text before another one in a file.
type edit struct{ file, before, text string }

// field is the recipe for a field of a job, step by step.
var field = []edit{
	{"internal/jobfield/table.go", "\t{\n\t\tName: \"labels\"", `	{
		Name: "owner", Kind: Line, Most: 100, Example: ` + "`\"Ada\"`" + `,
		Text: "Whom to ask about the job.",
		Flag: "owner",
	},
`},
	{"internal/job/spec.go", "\tEnabled       bool ", "\tOwner string `field:\"owner\"`\n"},
	{"api/import_internal_test.go", "\t\t\tLabels: []string{\"team:ops\"", "\t\t\tOwner: \"Ada\",\n"},
}

// TestAddAField: two files and a row of a test are written, the documents follow, and everything
// knows the field.
func TestAddAField(t *testing.T) {
	if os.Getenv("GATEWAY_CRON_RECIPES") == "" {
		t.Skip("builds the product again: make recipes")
	}
	tree := newTree(t)
	for _, e := range field {
		tree.apply(e)
	}
	tree.must("go", "test", "-count=1", "./api", "./internal/store", "-run", "^(TestDocumentsHaveTheFields|TestProtocolHasTheFields)$", "-update")
	tree.must("go", "vet", "./internal/jobfield", "./internal/job", "./api", "./internal/store")
	tree.must("go", append([]string{"test", "-count=1"}, fieldTests...)...)
	for file, says := range map[string]string{"docs/api.md": "| `owner` | Whom to ask about the job. | 100 bytes |", "api/openapi.json": `"owner": {`, "docs/protocol.md": "| `owner` | text | put_job |"} {
		text, err := os.ReadFile(filepath.Join(tree.dir, file))
		if err != nil || !strings.Contains(string(text), says) {
			t.Errorf("%s does not say %q (%v)", file, says, err)
		}
	}
	if help := tree.must("go", "run", "./cmd/gateway-cron", "job", "add", "--help"); !strings.Contains(help, "--owner") {
		t.Errorf("job add has no flag for it:\n%s", help)
	}
	halfAdded(t, tree)
}

// fieldTests are those that hold a field to the table.
var fieldTests = []string{"./internal/jobfield", "./internal/job", "./api", "./internal/store", "./internal/mcp", "./internal/cli/jobs",
	"-run", "^(TestTable|TestEveryField.*|TestCodecKeepsEveryField|TestDocumentsHaveTheFields|TestProtocolHasTheFields|TestEveryAnswerIsDescribed|TestHelp)$"}

// halfAdded: each step that is left out turns a test red.
func halfAdded(t *testing.T, tree tree) {
	t.Helper()
	for left, e := range field {
		tree.reset()
		for i, other := range field {
			if i != left {
				tree.apply(other)
			}
		}
		if left != 0 { // without it there is nothing to write
			tree.must("go", "test", "-count=1", "./internal/store", "-run", "^TestProtocolHasTheFields$", "-update")
			_, _ = tree.run("go", "test", "-count=1", "./api", "-run", "^TestDocumentsHaveTheFields$", "-update")
		}
		if out, err := tree.run("go", append([]string{"test", "-count=1"}, fieldTests...)...); err == nil {
			t.Errorf("nobody misses the step in %s:\n%s", e.file, out)
		}
	}
}

// tree is a copy of this one.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T) tree {
	t.Helper()
	const top = "../.."
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	copied := tree{t, t.TempDir()}
	for _, e := range entries {
		from, to := filepath.Join(top, e.Name()), filepath.Join(copied.dir, e.Name())
		switch {
		case e.IsDir() && e.Name() != ".git":
			err = os.CopyFS(to, os.DirFS(from))
		case strings.HasPrefix(e.Name(), "go."), strings.HasSuffix(e.Name(), ".md"):
			var text []byte
			if text, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(to, text, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// reset takes back what was done to a field. The directory stays, so that what was built of it
// need not be built again.
func (c tree) reset() {
	c.t.Helper()
	for _, file := range []string{field[0].file, field[1].file, field[2].file, "api/openapi.json", "docs/api.md", "docs/protocol.md"} {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err == nil {
			err = os.WriteFile(filepath.Join(c.dir, file), text, 0o600)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c tree) apply(e edit) {
	c.t.Helper()
	path := filepath.Join(c.dir, e.file)
	text, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	before, after, found := strings.Cut(string(text), e.before)
	if !found {
		c.t.Fatalf("%s has no %q", e.file, e.before)
	}
	if err := os.WriteFile(path, []byte(before+e.text+e.before+after), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c tree) run(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), name, args...)
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c tree) must(name string, args ...string) string {
	c.t.Helper()
	out, err := c.run(name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

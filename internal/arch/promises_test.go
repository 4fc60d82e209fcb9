package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPromisesNameTests: the README says which test holds which promise, docs/testing.md
// which one holds which rule of the protocol, and a test that was renamed holds none. Who
// reads the README looks for the one test of that name.
func TestPromisesNameTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	var tests strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		tests.Write(source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for file, least := range map[string]int{"README.md": 8, filepath.Join("docs", "testing.md"): 60} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(text), -1)
		if len(named) < least {
			t.Errorf("%s names %d tests: %q", file, len(named), named)
		}
		for _, name := range named {
			switch n := strings.Count(tests.String(), "\nfunc "+name+"(t *testing.T) {"); {
			case n == 0:
				t.Errorf("%s is named in %s and is no test", name, file)
			case n > 1 && file == "README.md":
				t.Errorf("%s is named in %s, and %d tests have that name", name, file, n)
			}
		}
	}
}

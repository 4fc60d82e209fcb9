package jobs

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Other words for the commands. An alias does what its command does; what might mean two
// things, or costs a turn, is only suggested.

// alias gives a command other names, and words by which it is suggested.
func alias(cmd *cobra.Command, aliases, suggestFor string) *cobra.Command {
	cmd.Aliases, cmd.SuggestFor = strings.Fields(aliases), strings.Fields(suggestFor)
	return cmd
}

// plural is the list of a group as a command of its own: jobs for job list.
func (t *tool) plural(name string, list *cobra.Command) *cobra.Command {
	of := strings.TrimSuffix(name, "s")
	list.Use, list.Aliases = name, nil
	list.Example = "  gateway-cron " + name + "\n" + list.Example
	list.Short += "; the same as " + of + " list"
	list.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage(cmd, "%s takes no argument; did you mean %s %s?", cmd.CommandPath(), of, printable(args[0]))
		}
		return nil
	}
	t.common(list)
	return list
}

// Unknown says that a command has no such sub-command, and which may be meant: one by
// that word anywhere, else one of its own that is spelt much the same.
func Unknown(cmd *cobra.Command, typed string) string {
	text := `unknown command "` + printable(typed) + `" for "` + cmd.CommandPath() + `"`
	var meant []string
	walk(cmd.Root(), func(c *cobra.Command) {
		if c.IsAvailableCommand() && (c.Name() == typed || c.HasAlias(typed) || slices.Contains(c.SuggestFor, typed)) {
			meant = append(meant, strings.TrimPrefix(c.CommandPath(), cmd.Root().Name()+" "))
		}
	})
	if own := strings.TrimPrefix(cmd.CommandPath()+" ", cmd.Root().Name()+" "); len(meant) > 1 && own != "" {
		if nearer := slices.DeleteFunc(slices.Clone(meant), func(m string) bool { return !strings.HasPrefix(m, own) }); len(nearer) > 0 {
			meant = nearer
		}
	}
	if len(meant) == 0 {
		cmd.SuggestionsMinimumDistance = 2
		for _, name := range nearest(typed, cmd.SuggestionsFor(typed)) {
			meant = append(meant, strings.TrimPrefix(cmd.CommandPath()+" "+name, cmd.Root().Name()+" "))
		}
	}
	if len(meant) > 0 {
		text += "; did you mean " + strings.Join(slices.Compact(meant), ", or ") + "?"
	}
	return text
}

// nearest are those of some words that have the letters of the typed one, where there are
// such: two of them changed places.
func nearest(typed string, words []string) []string {
	letters := func(s string) string { return string(slices.Sorted(slices.Values([]byte(s)))) }
	same := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return letters(w) != letters(typed) })
	if len(same) > 0 {
		return same
	}
	return words
}

// walk goes over all commands below one.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	for _, c := range cmd.Commands() {
		visit(c)
		walk(c, visit)
	}
}

package jobs

import (
	"fmt"
	"strings"
)

// style is how a terminal shows a cell.
type style string

const (
	plain style = ""
	good  style = "32" // green
	bad   style = "31" // red
	faint style = "33" // yellow: neither
)

// cell is one cell of a table.
type cell struct {
	text  string
	style style
}

// column is a title, and what may be done to it where the terminal is narrow: its texts
// cut, or all of it left out. Half an id or a time is worth nothing.
type column struct {
	title string
	cut   bool
	spare bool
}

const (
	gap       = 2 // columns between two columns
	narrowest = 8
)

// table prints aligned rows. On a terminal they are cut to its width; whoever reads a
// pipe gets everything.
func (t *tool) table(cols []column, rows [][]cell) {
	widths := make([]int, len(cols))
	for i, c := range cols {
		widths[i] = columns(c.title)
		for _, row := range rows {
			row[i].text = oneLine(row[i].text)
			if row[i].text == "" {
				row[i].text = "-"
			}
			widths[i] = max(widths[i], columns(row[i].text))
		}
	}
	if t.Terminal.Width > 0 && shrink(cols, widths, t.Terminal.Width) {
		cols, widths, rows = withoutSpare(cols, rows)
		shrink(cols, widths, t.Terminal.Width)
	}
	titles := make([]cell, len(cols))
	for i, c := range cols {
		titles[i].text = c.title
	}
	t.row(titles, widths)
	for _, row := range rows {
		t.row(row, widths)
	}
}

// withoutSpare leaves out the columns that can be spared.
func withoutSpare(cols []column, rows [][]cell) (fewer []column, left []int, cut [][]cell) {
	cut = make([][]cell, len(rows))
	for i, c := range cols {
		if c.spare {
			continue
		}
		fewer, left = append(fewer, c), append(left, columns(c.title))
		for n, row := range rows {
			cut[n] = append(cut[n], row[i])
			left[len(left)-1] = max(left[len(left)-1], columns(row[i].text))
		}
	}
	return fewer, left, cut
}

// shrink takes from the widest columns that may be cut until all fit, if they can. It
// reports whether it took anything.
func shrink(cols []column, widths []int, room int) bool {
	total := gap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	narrow := total > room
	for ; total > room; total-- {
		widest := -1
		for i, c := range cols {
			if c.cut && widths[i] > narrowest && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return narrow
}

func (t *tool) row(cells []cell, widths []int) {
	var b strings.Builder
	for i, c := range cells {
		text := fit(c.text, widths[i])
		b.WriteString(t.paint(text, c.style))
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-columns(text)+gap))
		}
	}
	fmt.Fprintln(t.Stdout, b.String())
}

// paint colours a text, on terminals alone.
func (t *tool) paint(text string, s style) string {
	if s == plain || t.Terminal.Width == 0 || t.Getenv("NO_COLOR") != "" || t.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// fact is a line of a description.
type fact struct {
	name string
	cell
}

// facts prints what there is to say, the names aligned; without a text there is no line.
func (t *tool) facts(facts []fact) {
	width := 0
	for _, f := range facts {
		if f.text != "" {
			width = max(width, columns(f.name))
		}
	}
	for _, f := range facts {
		if f.text != "" {
			fmt.Fprintf(t.Stdout, "  %s%s  %s\n", f.name, strings.Repeat(" ", width-columns(f.name)), t.paint(oneLine(f.text), f.style))
		}
	}
}

package jobs

import (
	"cmp"
	"fmt"
	"slices"
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

// column is a title, and what may be done to it where the terminal is narrow. Half a time
// is worth nothing.
type column struct {
	title string
	cut   int  // its texts may be cut, best to no less than so many columns; 0 is not at all
	spare int  // it may be left out, before those with a lower number; 0 is never
	extra bool // that, before any text is cut
	// short has what stands for a text: the beginning of an id.
	short map[string]string
}

const (
	gap       = 2 // columns between two columns
	narrowest = 6 // of a text that is cut and still says something
)

// grid is a table as it is laid out.
type grid struct {
	cols   []column
	rows   [][]cell
	widths []int
}

// table prints aligned rows. On a terminal they fit its width: ids become short, columns
// that can be spared are left out, and texts are cut. Whoever reads a pipe gets everything.
func (t *tool) table(cols []column, rows [][]cell) {
	for _, row := range rows {
		for i := range row {
			if row[i].text = oneLine(row[i].text); row[i].text == "" {
				row[i].text = "-"
			}
		}
	}
	g := grid{cols: cols, rows: rows}
	g.measure()
	if t.Terminal.Width > 0 {
		g.narrow(t.Terminal.Width)
	}
	titles := make([]cell, len(g.cols))
	for i, c := range g.cols {
		titles[i].text = c.title
	}
	t.row(titles, g.widths)
	for _, row := range g.rows {
		t.row(row, g.widths)
	}
}

// measure gives each column the width of its widest text.
func (g *grid) measure() {
	g.widths = make([]int, len(g.cols))
	for i, c := range g.cols {
		g.widths[i] = columns(c.title)
		for _, row := range g.rows {
			g.widths[i] = max(g.widths[i], columns(row[i].text))
		}
	}
}

// narrow makes the table fit a terminal of so many columns.
func (g *grid) narrow(room int) {
	if total(g.widths) <= room {
		return
	}
	for _, row := range g.rows {
		for i := range row {
			row[i].text = cmp.Or(g.cols[i].short[row[i].text], row[i].text)
		}
	}
	g.measure()
	for total(g.widths) > room && g.leaveOut(func(c column) bool { return c.extra }) {
	}
	for total(g.least()) > room && g.leaveOut(func(column) bool { return true }) {
	}
	g.shrink(room, g.least())
	g.shrink(room, g.widthsOf(func(c column, width int) int {
		if c.cut == 0 {
			return width
		}
		return narrowest
	}))
	// A terminal for which that is not enough gets what fits, of whatever.
	g.shrink(room, g.widthsOf(func(column, int) int { return 1 }))
}

// least are the widths that the columns are best cut to.
func (g *grid) least() []int {
	return g.widthsOf(func(c column, width int) int { return cmp.Or(c.cut, width) })
}

// widthsOf are the widths that the columns would have, none wider than it is.
func (g *grid) widthsOf(width func(column, int) int) []int {
	widths := make([]int, len(g.cols))
	for i, c := range g.cols {
		widths[i] = min(g.widths[i], width(c, g.widths[i]))
	}
	return widths
}

// leaveOut leaves out the column that is spared first, of those that may, if there is one.
func (g *grid) leaveOut(may func(column) bool) bool {
	first := -1
	for i, c := range g.cols {
		if c.spare > 0 && may(c) && (first < 0 || c.spare > g.cols[first].spare) {
			first = i
		}
	}
	if first < 0 {
		return false
	}
	g.cols, g.widths = without(g.cols, first), without(g.widths, first)
	rows := make([][]cell, len(g.rows))
	for n, row := range g.rows {
		rows[n] = without(row, first)
	}
	g.rows = rows
	return true
}

func without[T any](list []T, i int) []T { return slices.Concat(list[:i], list[i+1:]) }

// total is how wide a row is.
func total(widths []int) int {
	sum := gap * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	return sum
}

// shrink takes from the widest that is wider than it must be until all fit, if they can.
func (g *grid) shrink(room int, least []int) {
	for excess := total(g.widths) - room; excess > 0; excess-- {
		widest := -1
		for i, w := range g.widths {
			if w > least[i] && (widest < 0 || w > g.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		g.widths[widest]--
	}
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

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func outputFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "`FORMAT` of the answer: text or json",
		Action: func(_ *cli.Context, v string) error {
			if v != "text" && v != "json" {
				return usagef("--output %q: give text or json", v)
			}
			return nil
		},
	}
}

// output is where a command's answer goes, and in which form.
type output struct {
	json     bool
	out, err io.Writer
}

func outputOf(c *cli.Context) output {
	return output{json: c.String("output") == "json", out: c.App.Writer, err: c.App.ErrWriter}
}

// answer prints v as JSON, or as text renders it. text's table cells are separated by tabs.
func (o output) answer(v any, text func(w io.Writer)) error {
	var buf bytes.Buffer
	if o.json {
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return err
		}
	} else {
		tw := tabwriter.NewWriter(&buf, 0, 8, 2, ' ', 0)
		text(tw)
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	_, err := o.out.Write(buf.Bytes())
	return err
}

// say tells the operator something that is not the answer.
func (o output) say(format string, args ...any) {
	if !o.json {
		fmt.Fprintf(o.err, format+"\n", args...)
	}
}

// fail tells why the command failed.
func (o output) fail(err error) {
	if !o.json {
		fmt.Fprintf(o.err, "hive: %v\n", err)
		return
	}
	raw, merr := json.Marshal(struct {
		Error string `json:"error"`
	}{err.Error()})
	if merr != nil {
		raw = []byte(`{"error":"the error's text cannot be shown as JSON"}`)
	}
	fmt.Fprintf(o.err, "%s\n", raw)
}

// row writes one line of a table.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, c)
	}
	fmt.Fprintln(w)
}

// listed joins what may be empty.
func listed[T ~string](items []T) string {
	if len(items) == 0 {
		return "-"
	}
	s := make([]string, len(items))
	for i, it := range items {
		s[i] = string(it)
	}
	return strings.Join(s, ",")
}

// orDash shows an empty cell.
func orDash[T ~string](s T) T {
	if s == "" {
		return "-"
	}
	return s
}

// plural counts things in words.
func plural(n int, noun string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// isTerminal tells whether a person sits at the other end of a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

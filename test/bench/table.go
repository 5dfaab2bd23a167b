package main

import (
	"fmt"
	"io"
	"time"
)

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// goals are the issue's: processor time of all servers for one request, in milliseconds, at concurrency 16 and three
// processes.
var goals = map[string]float64{"PUT 4 KiB": 4.7, "GET 4 KiB": 0.77, "PUT 1 MiB": 8.1, "GET 1 MiB": 2.1}

// printRows prints rows as a table in Markdown; where there is a bare server, with how many times its processor time
// they cost, and with the goals where there are some.
func printRows(out io.Writer, rows []row, bare bareRates, goals map[string]float64) {
	fmt.Fprintf(out, "| request | clients | requests/s | MiB/s | p50 ms | p99 ms | server CPU ms | peak RSS MiB: all, largest |")
	if bare != nil {
		fmt.Fprintf(out, " × bare CPU | goal, CPU ms |")
	}
	fmt.Fprintf(out, "\n| --- | --- | --- | --- | --- | --- | --- | --- |")
	if bare != nil {
		fmt.Fprintf(out, " --- | --- |")
	}
	fmt.Fprintln(out)
	for _, r := range rows {
		failed := ""
		if r.failed > 0 {
			failed = fmt.Sprintf(" (**%d failed**)", r.failed)
		}
		fmt.Fprintf(out, "| %s | %d | %s%s | %s | %.2f | %.2f | %s | %d, %d |", r.op, r.conc, digits(r.rate()), failed, r.mib(),
			ms(r.p50), ms(r.p99), digits(ms(r.cpu)), r.rss>>20, r.largest>>20)
		if bare != nil {
			fmt.Fprintf(out, " %s | %s |", times(r, bare), goalOf(r, goals))
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out)
}

// mib is the row's rate in MiB/s where its requests carry objects.
func (r row) mib() string {
	for _, size := range sizes {
		if r.op == "PUT "+sizeName(size) || r.op == "GET "+sizeName(size) {
			return digits(r.rate() * float64(size) / (1 << 20))
		}
	}
	return ""
}

func times(r row, bare bareRates) string {
	b, ok := bare[r.op]
	if !ok || b.cpu == 0 {
		return ""
	}
	return digits(float64(r.cpu) / float64(b.cpu))
}

func goalOf(r row, goals map[string]float64) string {
	goal, ok := goals[r.op]
	if !ok || r.conc != 16 {
		return ""
	}
	return fmt.Sprintf("%.2f", goal)
}

// digits prints a figure with as many digits as it is worth.
func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

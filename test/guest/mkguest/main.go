// Command mkguest builds one of the tests' disk images, if it is not in the cache already, and prints its path. It never
// changes the machine that it runs on.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"hive/test/guest"
)

func main() {
	out := flag.String("out", "", "directory to keep images in, in place of $HIVE_GUEST_CACHE or .tools/guest")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: mkguest [-out DIR] tiny|debian")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	path, err := build(ctx, flag.Arg(0), *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkguest:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}

func build(ctx context.Context, name, dir string) (string, error) {
	if dir == "" {
		var err error
		if dir, err = guest.CacheDir(); err != nil {
			return "", err
		}
	}
	return guest.Image(ctx, name, dir, os.Stderr)
}

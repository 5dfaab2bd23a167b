package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// depends are the packages that names need, with themselves.
func depends(ctx context.Context, names ...string) ([]string, error) {
	args := []string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}
	out, err := output(ctx, "", "apt-cache", append(args, names...)...)
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "<") { // <name> is one that others provide
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all, nil
}

var kernelPackage = regexp.MustCompile(`^linux-(image|modules)-[0-9]`)

// kernelMeta is the package that depends on the newest kernel for virtual machines: Debian's, or Ubuntu's.
func kernelMeta(ctx context.Context) (string, error) {
	for _, name := range []string{"linux-image-cloud-amd64", "linux-image-virtual"} {
		if _, err := output(ctx, "", "apt-cache", "show", "--no-all-versions", name); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("neither Debian's nor Ubuntu's kernel for virtual machines is in the lists of packages: run apt-get update (this needs amd64)")
}

// kernel are the packages of that kernel and its modules.
func kernel(ctx context.Context) ([]string, error) {
	meta, err := kernelMeta(ctx)
	if err != nil {
		return nil, err
	}
	all, err := depends(ctx, meta)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range all {
		if kernelPackage.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s depends on no kernel", meta)
	}
	return names, nil
}

// versions tells the file and the checksum of each package, one on a line.
func versions(ctx context.Context, names []string) (string, error) {
	return output(ctx, "", "apt-get", append([]string{"download", "--print-uris", "-q"}, names...)...)
}

// unpack downloads packages and unpacks them into the workshop's directory x; nothing is installed.
func (w *workshop) unpack(ctx context.Context, names []string) error {
	debs, x := w.path("debs"), w.path("x")
	for _, dir := range []string{debs, x} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	args := []string{"-o", "APT::Sandbox::User=root", "-q", "download"} // root's own directory is not apt's user's
	if _, err := output(ctx, debs, "apt-get", append(args, names...)...); err != nil {
		return fmt.Errorf("%w(a package that has gone from its place means old lists: apt-get update)", err)
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := w.run(ctx, "dpkg-deb", "-x", file, x); err != nil {
			return err
		}
	}
	return nil
}

// unpacked is the one file of the unpacked packages that matches; patterns are tried in order, as the same file lies in
// /bin or in /usr/bin.
func (w *workshop) unpacked(patterns ...string) (string, error) {
	for _, pattern := range patterns {
		found, err := filepath.Glob(w.path("x", pattern))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("the packages have no %s", strings.Join(patterns, " or "))
}

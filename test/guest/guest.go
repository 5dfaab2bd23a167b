// Package guest builds the disk images that tests and the demo boot as instances, out of the packages of the Debian or
// Ubuntu that it runs on: Tiny (a cloud kernel, busybox and dropbear) and Debian (systemd, cloud-init and sshd). Both boot by
// UEFI and by BIOS. It uses neither loop devices nor mounts, and knows nothing of Hive.
package guest

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The names of the images.
const (
	TinyImage   = "tiny"
	DebianImage = "debian"
)

// ErrImage is a name that is none of the images'.
var ErrImage = errors.New("no such image: tiny or debian")

// recipe is everything of ours that an image is made from. A change in it makes another image.
//
//go:embed *.go tiny debian
var recipe embed.FS

// An image is what a build needs to know of one of them.
type image struct {
	packages func(context.Context) ([]string, error) // whose versions decide whether an image is new
	build    func(ctx context.Context, w *workshop, out string) error
}

func images(name string) (image, error) {
	switch name {
	case TinyImage:
		return image{tinyPackages, buildTiny}, nil
	case DebianImage:
		return image{debianPackages, buildDebian}, nil
	}
	return image{}, fmt.Errorf("%q: %w", name, ErrImage)
}

// Tiny is the qcow2 file of the tiny image, built if it is not in the cache. Log in as root or ec2-user.
func Tiny(t testing.TB) string { return file(t, TinyImage) }

// Debian is that of the image with systemd and cloud-init. Its user is debian or ubuntu, as cloud-init has it.
func Debian(t testing.TB) string { return file(t, DebianImage) }

func file(t testing.TB, name string) string {
	t.Helper()
	dir, err := CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path, err := Image(t.Context(), name, dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// CacheDir is where images are kept: $HIVE_GUEST_CACHE, or .tools/guest beside the go.mod above the working directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("HIVE_GUEST_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".tools", "guest"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory: set HIVE_GUEST_CACHE")
		}
		dir = filepath.Dir(dir)
	}
}

// Image is the path of an image's qcow2 file in dir, named by the hash of the recipe and of its packages' versions. It is
// built when it is not there; of several at once, in any process, one builds and the others wait.
func Image(ctx context.Context, name, dir string, log io.Writer) (string, error) {
	img, err := images(name)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(dir, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	ours, err := hashRecipe()
	if err != nil {
		return "", err
	}
	prefix := filepath.Join(dir, name+"-"+ours)
	theirs, err := hashPackages(ctx, img, prefix+".packages")
	if err != nil {
		// Without lists of packages there is no newer image to be had than one that is there.
		if old, globErr := filepath.Glob(prefix + "-*.qcow2"); globErr == nil && len(old) > 0 {
			fmt.Fprintf(log, "%s: used as it is, for the versions of its packages are not known here: %v\n", old[0], err)
			return old[0], nil
		}
		return "", err
	}
	out := prefix + "-" + theirs + ".qcow2"
	now := time.Now()
	if err := os.Chtimes(out, now, now); err == nil { // it is there, and used
		return out, nil
	}
	if err := prune(dir, name, now.Add(-keepUnused)); err != nil {
		return "", err
	}
	return out, build(ctx, img, name, out, log)
}

// keepUnused is how long an image stays in the cache that nobody uses, for another branch may.
const keepUnused = 14 * 24 * time.Hour

// prune removes what the cache has of an image and nobody has used since then, and builds that were killed.
func prune(dir, name string, since time.Time) error {
	old, err := filepath.Glob(filepath.Join(dir, name+"-*"))
	if err != nil {
		return err
	}
	for _, path := range old {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.ModTime().After(since) && !info.IsDir() {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// build builds in a directory of its own beside the result, and moves that into place whole.
func build(ctx context.Context, img image, name, out string, log io.Writer) error {
	dir, err := os.MkdirTemp(filepath.Dir(out), name+"-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // what a failed build leaves is of no use to anyone
	fmt.Fprintf(log, "building %s\n", out)
	begin := time.Now()
	w := &workshop{dir: dir, log: log}
	made := filepath.Join(dir, "made.qcow2")
	if err := img.build(ctx, w, made); err != nil {
		return fmt.Errorf("building the %s image: %w", name, err)
	}
	if err := os.Rename(made, out); err != nil {
		return err
	}
	info, err := os.Stat(out)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "built %s, %.1f MB, in %s\n", out, float64(info.Size())/1e6, time.Since(begin).Round(time.Second))
	return nil
}

// lock waits until it alone has the file. The kernel gives it free when its holder dies.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for another build, %s: %w", path, ctx.Err()), f.Close())
		case <-tick.C:
		}
	}
}

func hashRecipe() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(recipe, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := recipe.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(raw), raw)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:10], err
}

// hashPackages is the hash of the versions of an image's packages. Asking for them takes seconds, so the answer is kept in
// the file memo for as long as apt's lists are the same.
func hashPackages(ctx context.Context, img image, memo string) (string, error) {
	const lists = "/var/lib/apt/lists"
	info, err := os.Stat(lists)
	if err != nil {
		return "", err
	}
	asOf := info.ModTime().UTC().Format(time.RFC3339Nano)
	if known, err := os.ReadFile(memo); err == nil {
		if hash, ok := strings.CutPrefix(string(known), asOf+" "); ok {
			return hash, nil
		}
	}
	names, err := img.packages(ctx)
	if err != nil {
		return "", err
	}
	versions, err := versions(ctx, names)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(versions))
	hash := hex.EncodeToString(sum[:])[:10]
	return hash, os.WriteFile(memo, []byte(asOf+" "+hash), 0o644)
}

// workshop is the directory of one build, and the means to run tools in it.
type workshop struct {
	dir string
	log io.Writer
}

func (w *workshop) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// run runs a tool in the workshop; what it says is part of the error when it fails.
func (w *workshop) run(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, w.dir, name, args...)
	return err
}

// sh runs a shell script in the workshop.
func (w *workshop) sh(ctx context.Context, script string, args ...string) error {
	return w.run(ctx, "bash", append([]string{"-euo", "pipefail", "-c", script, "sh"}, args...)...)
}

// write makes a file of the workshop with the directories above it.
func (w *workshop) write(path string, content []byte, mode fs.FileMode) error {
	path = w.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// place writes a file of the recipe.
func (w *workshop) place(path, from string, mode fs.FileMode) error {
	content, err := recipe.ReadFile(from)
	if err != nil {
		return err
	}
	return w.write(path, content, mode)
}

// output is a tool's standard output. Tools of the system's administrator are found for other users as well.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "env", append([]string{name}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}

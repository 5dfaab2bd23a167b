// Package hive_test holds the rules of the house that no compiler checks: who may import whom, and what no file
// says. It never looks at what the program does.
package hive_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// room is a rule for the packages that match: what of this module and what of others they may import. A name that
// ends in /... stands for itself and all below it.
type room struct {
	packages string
	own      string // packages of this module, space separated
	foreign  string // modules of others
	reason   string
}

// everything that is not the standard library and not in a row of its own package is refused. The first row that
// matches counts.
var rooms = []room{
	{"hive/iam/principal", "", "",
		"a leaf: every room names the caller, so it may pull in nothing"},
	{"hive/iam/policy", "hive/iam/principal", "",
		"a pure evaluator: same document, same request, same answer, on any node and in any test"},
	{"hive/iam/session", "hive/iam/principal", "github.com/fxamacker/cbor/v2",
		"temporary credentials in a token: it is handed the sealer and looks nothing up"},
	{"hive/iam/actions", "hive/iam/principal hive/fsm hive/awsd/protocol", "github.com/aws/aws-sdk-go-v2/...",
		"what each operation needs, as data: it decides nothing, and no service needs to know how permissions are asked for"},
	{"hive/iam/trail", "hive/iam/principal hive/iam/actions hive/fsm hive/awsd/protocol", "github.com/aws/aws-sdk-go-v2/...",
		"keeps calls as they were answered: it knows no service"},
	{"hive/iam", "hive/fsm hive/iam/... hive/awsd/protocol hive/awsd/iamapi hive/awsd/stsapi hive/internal/seal",
		"github.com/aws/aws-sdk-go-v2/... github.com/go-jose/go-jose/v4/... github.com/pquerna/otp/... golang.org/x/crypto/...",
		"identity depends on durable facts, never on the server or on another service"},
	{"hive/awsd/protocol", "hive/iam/principal", "",
		"the wire knows no resource; the SDK's types reach it by the tables that are handed in"},
	{"hive/awsd/sigv4", "hive/awsd/protocol hive/iam/principal", "github.com/minio/crc64nvme",
		"signatures need neither keys' storage nor the services"},
	{"hive/awsd/gen", "", "golang.org/x/tools/...",
		"a tool of the source's build, not of the program's"},
	{"hive/awsd", "hive/iam hive/iam/principal hive/awsd/protocol hive/awsd/sigv4 hive/internal/pagetoken hive/internal/seal", "golang.org/x/sync/errgroup golang.org/x/time/rate",
		"one server for every service: it is handed them as tables and knows none"},
	{"hive/awsd/...", "hive/awsd/protocol hive/iam/principal", "github.com/aws/aws-sdk-go-v2/...",
		"generated tables over the SDK's types, and nothing else"},
	{"hive/events/natsd", "", "github.com/nats-io/...",
		"the embedded server: tenants and routes are handed in"},
	{"hive/events/pattern", "", "",
		"pure: what an event pattern means"},
	{"hive/events", "hive/events/... hive/fsm", "github.com/nats-io/...",
		"reads committed state and tells of it: nothing may need it"},
	{"hive/s3", "hive/iam hive/iam/principal hive/fsm hive/shard hive/awsd/protocol hive/awsd/s3api",
		"github.com/aws/aws-sdk-go-v2/... github.com/minio/... golang.org/x/sync/errgroup",
		"a service means operations; it neither serves HTTP nor knows Raft"},
	{"hive/ebs/ebstest", "hive/fsm hive/shard hive/ebs hive/ebs/... hive/internal/vfs hive/internal/fsmtest", "github.com/hashicorp/raft golang.org/x/...",
		"nodes of volumes in one process, for tests and benchmarks"},
	{"hive/net/nettest", "hive/fsm hive/net/... hive/internal/fsmtest", "github.com/vishvananda/... golang.org/x/...",
		"guests and networks of tests"},
	{"hive/ebs/nbd/...", "hive/ebs/nbd", "github.com/pojntfx/go-nbd/pkg/protocol golang.org/x/sys/...",
		"a protocol over block devices: it knows no volume"},
	{"hive/ebs/qlog", "hive/fsm hive/internal/vfs", "golang.org/x/sys/...",
		"a log and its copies: what the records mean is the engine's"},
	{"hive/ebs/...", "hive/fsm hive/ebs/... hive/internal/vfs", "golang.org/x/...",
		"volumes over a log and blobs; the blob layer and the groups are handed in"},
	{"hive/ec2", "hive/iam/principal hive/fsm hive/awsd/protocol hive/awsd/ec2api hive/awsd/ebsapi hive/internal/gpt",
		"github.com/aws/aws-sdk-go-v2/... golang.org/x/crypto/... golang.org/x/sync/errgroup",
		"a service means operations: it records what is wanted and touches no guest, block or network"},
	{"hive/vm/image", "", "golang.org/x/sys/...",
		"disk files and qemu-img: cmd uses it without a node"},
	{"hive/vm/...", "hive/fsm hive/vm/...", "golang.org/x/sys/...",
		"the node's agent: records and QEMU; volumes and networks are handed in"},
	{"hive/net/vpc", "hive/fsm", "",
		"pure: the same state gives the same network on any node and in any test"},
	{"hive/net/imds", "hive/fsm hive/net/vpc", "golang.org/x/sys/...",
		"the metadata service reads records and never the network"},
	{"hive/net/...", "hive/fsm hive/net/...", "github.com/vishvananda/... github.com/google/nftables/... github.com/mdlayher/netlink github.com/insomniacslk/dhcp/... github.com/miekg/dns golang.org/x/...",
		"what the kernel is told: nobody else opens a netlink socket"},
	{"hive/fsm", "hive/internal/boltfile", "go.etcd.io/bbolt/... github.com/hashicorp/raft github.com/fxamacker/cbor/v2",
		"the one truth must be a pure function of the log: nothing of ours but the reader of its file may reach it, so nothing can surprise it"},
	{"hive/raftnode", "hive/fsm hive/internal/boltfile hive/internal/vfs",
		"github.com/hashicorp/... go.etcd.io/bbolt/... github.com/fxamacker/cbor/v2",
		"a Raft group carries commands and knows no service"},
	{"hive/gossip/...", "hive/fsm", "github.com/hashicorp/... github.com/fxamacker/cbor/v2 golang.org/x/net/... github.com/miekg/dns",
		"gossip says who seems alive; it must not be able to decide anything"},
	{"hive/shard", "hive/fsm hive/internal/vfs hive/internal/boltfile",
		"github.com/klauspost/reedsolomon go.etcd.io/bbolt/... golang.org/x/sync/... golang.org/x/sys/...",
		"the blob layer serves any service and knows none"},
	{"hive/internal/node", "hive/...", "...",
		"all wiring in one place, importable, so that tests start the same node as the program"},
	{"hive/internal/vfs", "", "golang.org/x/sys/...",
		"the file-system seam lies below everything"},
	{"hive/internal/boltfile", "hive/internal/vfs", "go.etcd.io/bbolt/...",
		"a seam below the stores"},
	{"hive/internal/seal", "", "",
		"a cipher and its key"},
	{"hive/internal/pagetoken", "", "",
		"tokens of any service: it is handed the sealer"},
	{"hive/internal/admin", "hive/fsm", "",
		"types that cross a socket, and their client: cmd may import it without the daemon"},
	{"hive/internal/cluster", "hive/fsm hive/internal/seal", "github.com/gowebpki/jcs github.com/fxamacker/cbor/v2",
		"tokens, certificates and the settings bundle are computed without a network"},
	{"hive/internal/peer", "hive/fsm", "",
		"the cluster port carries connections for rooms that it does not know"},
	{"hive/internal/fsmtest", "hive/fsm", "github.com/hashicorp/raft",
		"a machine without Raft for unit tests"},
	{"hive/internal/testcluster", "hive/internal/node hive/internal/admin", "",
		"starts whole nodes for tests, as the program does"},
	{"hive/internal/gpt", "", "",
		"a look at a disk's first sectors, for the command and the service alike"},
	{"hive/internal/awscall", "", "github.com/aws/aws-sdk-go-v2/aws/...",
		"signed AWS requests for commands, without the SDK's clients"},
	{"hive/cmd/hive", "hive/internal/node hive/internal/admin hive/internal/cluster hive/internal/awscall hive/internal/gpt hive/vm/image hive/fsm",
		"github.com/urfave/cli/v2 github.com/schollz/progressbar/v3 golang.org/x/sys/... golang.org/x/term golang.org/x/sync/...",
		"commands ask the daemon over its socket or start it; they wire nothing themselves"},
	{"hive/test/bench", "hive/internal/admin hive/test/... hive/ebs/...", "github.com/aws/... golang.org/x/...",
		"measures the program, and the NBD server alone beside other servers"},
	{"hive/test/apidoc", "hive/awsd/... hive/iam/... hive/s3 hive/ec2", "",
		"writes docs/api.md from the tables that the program answers by"},
	{"hive/test/compat", "hive/test/...", "github.com/aws/...",
		"scenarios as data and the clients that run them; in its tests also against the services in one process"},
	{"hive/test/...", "hive/internal/admin hive/test/...", "github.com/aws/... github.com/anishathalye/porcupine golang.org/x/sync/errgroup golang.org/x/crypto/...",
		"whole-system tests drive the built program: what they import of it they cannot prove"},
}

// foreignInTests are modules that only tests may import, anywhere.
var foreignInTests = []string{
	"github.com/anishathalye/porcupine", "pgregory.net/rapid", "github.com/rogpeppe/go-internal/...", "github.com/hashicorp/raft",
	"github.com/aws/smithy-go/...",
}

// ownInTests are packages of this module that tests may import besides their room's.
var ownInTests = []string{"hive/internal/fsmtest", "hive/internal/testcluster", "hive/internal/vfs", "hive/internal/seal", "hive/fsm", "hive/awsd", "hive/awsd/...", "hive/iam", "hive/iam/...", "hive/shard",
	"hive/ebs/ebstest", "hive/ebs/nbd/nbdtest", "hive/net/nettest"}

// refused in the program: imports (with all below them) that its packages may not have, and why.
var refused = []struct{ name, in, reason string }{
	{"text/template", "hive/...", "calls methods by name, which keeps all of the SDK's clients in the linked program"},
	{"html/template", "hive/...", "is text/template below"},
	{"math/rand", "hive/fsm", "Apply must give the same on every node"},
	{"math/rand/v2", "hive/fsm", "Apply must give the same on every node"},
	{"crypto/rand", "hive/fsm", "Apply must give the same on every node"},
	{"os/exec", "hive/fsm", "Apply has no side effects"},
	{"net", "hive/fsm", "Apply has no side effects"},
	{"net/http", "hive/fsm", "Apply has no side effects"},
	{"os/exec", "hive/shard", "files are its only effect"},
	{"github.com/stretchr/testify/...", "hive/...", "the testing package is enough"},
}

// listed is what `go list -json` says of one package.
type listed struct {
	ImportPath, Dir                    string
	Imports, TestImports, XTestImports []string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Error                              *struct{ Err string }
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,GoFiles,TestGoFiles,XTestGoFiles,Error", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Error != nil && len(p.GoFiles)+len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
			continue // a directory whose files are all excluded holds nothing to check
		}
		all = append(all, p)
	}
}

// matches says whether name is pattern, or lies below a pattern that ends in /... .
func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	base, below := strings.CutSuffix(pattern, "/...")
	return name == base || below && strings.HasPrefix(name, base+"/")
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func isOwn(name string) bool { return name == "hive" || strings.HasPrefix(name, "hive/") }
func isStandard(name string) bool {
	return !strings.Contains(strings.Split(name, "/")[0], ".") && !isOwn(name)
}

func roomOf(name string) (room, bool) {
	for _, r := range rooms {
		if matches(r.packages, name) {
			return r, true
		}
	}
	return room{}, false
}

func TestEveryPackageImportsOnlyWhatItsRoomMay(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath == "hive" {
			continue
		}
		r, ok := roomOf(p.ImportPath)
		if !ok {
			t.Errorf("%s has no row in rooms: say what it may import, and why (and in DESIGN.md)", p.ImportPath)
			continue
		}
		own, foreign := strings.Fields(r.own), strings.Fields(r.foreign)
		check := func(names, own, foreign []string, what string) {
			for _, name := range names {
				allowed := isStandard(name) || name == "C"
				if isOwn(name) {
					allowed = name == p.ImportPath || matchesAny(own, name)
				} else if !allowed {
					allowed = matchesAny(foreign, name)
				}
				if !allowed {
					t.Errorf("%s%s imports %s: %s", p.ImportPath, what, name, r.reason)
				}
			}
		}
		check(p.Imports, own, foreign, "")
		tests := append(slices.Clone(p.TestImports), p.XTestImports...)
		check(tests, append(own, append(testRooms(p.ImportPath), ownInTests...)...), append(foreign, testForeign(p.ImportPath)...), " (tests)")
	}
}

// testForeign is what the tests of a package may import of others besides their room's.
func testForeign(name string) []string {
	more := slices.Clone(foreignInTests)
	if strings.HasPrefix(name, "hive/awsd") || name == "hive/s3" || name == "hive/iam" {
		more = append(more, "github.com/aws/...") // the real client proves the wire
	}
	return more
}

// testRooms is what the tests of a package may import of this module besides their room's: the wire's tests prove it
// over the generated tables, the cluster port's use real certificates.
func testRooms(name string) []string {
	switch {
	case name == "hive/iam/actions":
		return []string{"hive/ec2", "hive/s3"} // that every operation which is answered has its row
	case strings.HasPrefix(name, "hive/awsd"):
		return []string{"hive/awsd/...", "hive/iam/..."}
	case strings.HasPrefix(name, "hive/internal/"):
		return []string{"hive/internal/..."}
	case name == "hive/test/compat":
		return []string{"hive/awsd/...", "hive/iam/...", "hive/internal/seal"} // the front door in this process
	}
	return nil
}

func TestNoPackageImportsWhatIsRefused(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, "hive/test") || p.ImportPath == "hive/awsd/gen" || p.ImportPath == "hive/internal/testcluster" {
			continue // not in the program
		}
		for _, r := range refused {
			if matches(r.in, p.ImportPath) && slices.ContainsFunc(p.Imports, func(name string) bool { return matches(r.name, name) }) {
				t.Errorf("%s imports %s: %s", p.ImportPath, r.name, r.reason)
			}
		}
	}
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestEveryPackageHasExactlyOnePackageComment(t *testing.T) {
	for _, p := range packages(t) {
		files := p.GoFiles
		if len(files) == 0 {
			files = append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...)
		}
		var with []string
		for _, name := range files {
			tree := parse(t, filepath.Join(p.Dir, name))
			if tree.Doc == nil {
				continue
			}
			with = append(with, name)
			want := "Package " + tree.Name.Name + " "
			if tree.Name.Name == "main" {
				want = "Command " + filepath.Base(p.Dir) + " "
			}
			if !strings.HasPrefix(tree.Doc.Text(), want) {
				t.Errorf("%s/%s: the package comment begins %q, want %q", p.ImportPath, name, firstLine(tree.Doc.Text()), want+"…")
			}
		}
		if len(with) != 1 {
			t.Errorf("%s has %d package comments %v, want exactly one", p.ImportPath, len(with), with)
		}
	}
}

func firstLine(s string) string { line, _, _ := strings.Cut(s, "\n"); return line }

// A call that a room may not make, as package path and function.
var refusedCalls = []struct{ in, path, name, reason string }{
	{"hive/fsm", "time", "Now", "the proposer chooses the time: Apply must give the same on every node"},
	{"hive/fsm", "time", "Since", "the proposer chooses the time"},
	{"hive/fsm", "os", "Getenv", "Apply must give the same on every node"},
	{"hive/iam/policy", "time", "Now", "an evaluation is a function of its arguments"},
	{"hive/...", "context", "TODO", "a context is handed on"},
	{"hive/...", "log", "Printf", "log/slog is handed in"},
	{"hive/...", "log", "Println", "log/slog is handed in"},
	{"hive/...", "log", "Fatal", "only main ends the process"},
	{"hive/...", "log", "Fatalf", "only main ends the process"},
}

func TestNoRoomCallsWhatIsRefused(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			file := filepath.Join(p.Dir, name)
			tree := parse(t, file)
			names := importNames(tree)
			ast.Inspect(tree, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.Ident)
				if !ok {
					return true
				}
				for _, r := range refusedCalls {
					if matches(r.in, p.ImportPath) && names[x.Name] == r.path && sel.Sel.Name == r.name {
						t.Errorf("%s/%s uses %s.%s: %s", p.ImportPath, name, r.path, r.name, r.reason)
					}
				}
				checkMethodByName(t, p.ImportPath+"/"+name, sel)
				return true
			})
		}
	}
}

// checkMethodByName refuses calls of methods by name: with them the linker must keep every method of every type.
func checkMethodByName(t *testing.T, where string, sel *ast.SelectorExpr) {
	t.Helper()
	if sel.Sel.Name == "MethodByName" && !strings.HasPrefix(where, "hive/awsd/gen/") && !strings.HasPrefix(where, "hive/test") {
		t.Errorf("%s uses MethodByName: the linker would keep every method of the SDK", where)
	}
}

// importNames maps the names that a file uses for its imports to their paths.
func importNames(tree *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range tree.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}

// TestContextsBeginOnlyAtTheEdge: a context made below cmd and internal/node is one that nobody can end.
func TestContextsBeginOnlyAtTheEdge(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, "hive/cmd/") || p.ImportPath == "hive/internal/node" ||
			strings.HasPrefix(p.ImportPath, "hive/test") || p.ImportPath == "hive/awsd/gen" || p.ImportPath == "hive/internal/testcluster" {
			continue
		}
		for _, name := range p.GoFiles {
			tree := parse(t, filepath.Join(p.Dir, name))
			names := importNames(tree)
			ast.Inspect(tree, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && names[x.Name] == "context" && sel.Sel.Name == "Background" {
					t.Errorf("%s/%s begins a context: it is handed one", p.ImportPath, name)
				}
				return true
			})
		}
	}
}

// TestNoPackageHasAnInit: what runs before main cannot be handed anything, and cannot fail well.
func TestNoPackageHasAnInit(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			for _, d := range parse(t, filepath.Join(p.Dir, name)).Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					t.Errorf("%s/%s has an init function", p.ImportPath, name)
				}
			}
		}
	}
}

// TestNoFileIsLongerThanAThousandLines, and generated files are exempt: nobody reads them from the top.
func TestNoFileIsLongerThanAThousandLines(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			if strings.HasSuffix(name, "_gen.go") {
				continue
			}
			fset := token.NewFileSet()
			tree, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if lines := fset.File(tree.Pos()).LineCount(); lines > 1000 {
				t.Errorf("%s/%s has %d lines", p.ImportPath, name, lines)
			}
		}
	}
}

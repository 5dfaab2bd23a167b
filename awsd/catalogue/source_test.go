package catalogue_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hive/awsd/catalogue"
)

// rooms are where answers to clients are made, with the services that they speak for. A room below one of these is its own
// when it is listed, and else part of it.
var rooms = []struct {
	dir      string
	services []string
}{
	{"iam", []string{"iam", "sts"}},
	{"iam/denial.go", nil}, {"iam/authorize.go", nil}, // word the denials of every service
	{"iam/trail", []string{"cloudtrail"}},
	{"ec2/resourcegroups.go", []string{"tagging"}},
	{"ec2", []string{"ec2", "ebs"}},
	{"s3", []string{"s3"}},
	{"awsd", nil}, // speaks for every service
}

// unsent are values in the place of a code that no client gets.
var unsent = map[string]string{"ClientGone": "the access log's word for a client that left before its answer"}

// oneTime are the files in which a code is one that a virtual MFA device shows.
var oneTime = []string{"iam/mfacode.go"}

// slots are the names of parameters, fields, variables and constants that hold a code. An error's code that is none of them
// and no literal is one that this test cannot follow.
func isSlot(name string) bool {
	return slotName.MatchString(name) || slices.Contains([]string{"malformed", "notFound"}, name)
}

var slotName = regexp.MustCompile(`^([cC]ode([A-Z]\w*)?|\w*Code)$`)

func isStatusSlot(name string) bool { return name == "status" || name == "Status" }

// answer is a code that the source can answer.
type answer struct {
	code   string
	status int // 0: it stands elsewhere
	at     token.Position
}

// source is one package, read.
type source struct {
	fset    *token.FileSet
	files   []*ast.File
	consts  map[string]ast.Expr
	funcs   map[string]*ast.FuncType // by name, methods too
	structs map[string]*ast.StructType
	imports map[string]bool // names of packages
	found   []answer
	opaque  []string // places whose code cannot be told
}

func TestEveryErrorThatTheCodeCanAnswerIsInItsServicesCatalogue(t *testing.T) {
	c, err := catalogue.New()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join("..", "..")
	total := 0
	for _, room := range []string{"iam", "ec2", "s3", "awsd"} {
		for _, dir := range packagesBelow(t, filepath.Join(root, room)) {
			s := read(t, dir)
			s.walk()
			for _, place := range s.opaque {
				t.Errorf("%s: the code of this error cannot be told: give it as a constant, or through something called code", place)
			}
			for _, a := range s.found {
				total++
				if complaint := check(c, services(c, root, a.at.Filename), a); complaint != "" {
					t.Errorf("%s: %s", a.at, complaint)
				}
			}
		}
	}
	if total < 200 {
		t.Errorf("only %d answers were found: the test looks past them", total)
	}
}

// services are those that a file speaks for.
func services(c catalogue.Catalogue, root, file string) []string {
	name, longest, of := filepath.ToSlash(strings.TrimPrefix(file, root+string(filepath.Separator))), 0, c.Services()
	for _, r := range rooms {
		if (name == r.dir || strings.HasPrefix(name, r.dir+"/")) && len(r.dir) > longest {
			longest = len(r.dir)
			if of = r.services; of == nil {
				of = c.Services()
			}
		}
	}
	return of
}

func check(c catalogue.Catalogue, services []string, a answer) string {
	var statuses []string
	for _, service := range services {
		e, ok := c.Lookup(service, a.code)
		if ok && (a.status == 0 || a.status == e.Status) {
			return ""
		}
		if ok {
			statuses = append(statuses, fmt.Sprintf("%s %d", service, e.Status))
		}
	}
	if statuses == nil {
		return fmt.Sprintf("%q is no error of %s", a.code, strings.Join(services, ", "))
	}
	return fmt.Sprintf("%q with status %d; the catalogue has %s", a.code, a.status, strings.Join(statuses, ", "))
}

func packagesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && !slices.Contains([]string{"testdata", "gen", "catalogue"}, d.Name()) {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func read(t *testing.T, dir string) *source {
	t.Helper()
	s := &source{fset: token.NewFileSet(), consts: map[string]ast.Expr{}, funcs: map[string]*ast.FuncType{}, structs: map[string]*ast.StructType{}, imports: map[string]bool{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") || strings.HasSuffix(e.Name(), "_gen.go") ||
			slices.ContainsFunc(oneTime, func(name string) bool { return strings.HasSuffix(filepath.ToSlash(filepath.Join(dir, e.Name())), name) }) {
			continue
		}
		f, err := parser.ParseFile(s.fset, filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, f)
		s.declare(f)
	}
	return s
}

// declare takes in what a file declares, at any depth.
func (s *source) declare(f *ast.File) {
	for _, i := range f.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		name := path[strings.LastIndexByte(path, '/')+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		s.imports[name] = true
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			s.funcs[n.Name.Name] = n.Type
		case *ast.TypeSpec:
			if st, ok := n.Type.(*ast.StructType); ok {
				s.structs[n.Name.Name] = st
			}
		case *ast.GenDecl:
			if n.Tok != token.CONST {
				break
			}
			for _, spec := range n.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i < len(v.Values) {
						s.consts[name.Name] = v.Values[i]
					}
				}
			}
		}
		return true
	})
}

func (s *source) walk() {
	for _, f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				s.call(n)
			case *ast.CompositeLit:
				s.literal(n, n.Type)
			case *ast.AssignStmt:
				s.assign(n)
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if isSlot(name.Name) && i < len(n.Values) {
						s.code(n.Values[i], nil)
					}
				}
			case *ast.FuncDecl:
				s.results(n)
			}
			return true
		})
	}
}

// call looks at the arguments of parameters that hold a code.
func (s *source) call(call *ast.CallExpr) {
	name, foreign, ours := "", false, false
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
		if x, ok := f.X.(*ast.Ident); ok && s.imports[x.Name] {
			foreign = true
			ours = x.Name == "protocol"
		}
	}
	if name == "Errorf" && (ours || s.funcs["Errorf"] != nil && isIdent(call.Fun)) && len(call.Args) >= 2 {
		s.code(call.Args[1], call.Args[0])
		return
	}
	ft := s.funcs[name]
	if ft == nil || foreign {
		return
	}
	var code, status ast.Expr
	i := 0
	for _, p := range ft.Params.List {
		for _, n := range p.Names {
			if i < len(call.Args) && isSlot(n.Name) && isIdentNamed(p.Type, "string") {
				code = call.Args[i]
			}
			if i < len(call.Args) && isStatusSlot(n.Name) {
				status = call.Args[i]
			}
			i++
		}
	}
	if code != nil {
		s.code(code, status)
	}
}

func isIdent(e ast.Expr) bool { _, ok := e.(*ast.Ident); return ok }

func isIdentNamed(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// literal looks at the fields of a struct, or of the structs of a list or map, that hold a code.
func (s *source) literal(lit *ast.CompositeLit, typ ast.Expr) {
	switch t := typ.(type) {
	case *ast.ArrayType:
		s.elided(lit, t.Elt)
		return
	case *ast.MapType:
		s.elided(lit, t.Value)
		return
	case *ast.StarExpr:
		typ = t.X
	}
	var st *ast.StructType
	protocolError := false
	switch t := typ.(type) {
	case *ast.StructType:
		st = t
	case *ast.Ident:
		st = s.structs[t.Name]
	case *ast.SelectorExpr:
		protocolError = isIdentNamed(t.X, "protocol") && t.Sel.Name == "Error"
	}
	if st == nil && !protocolError {
		return
	}
	var codes []ast.Expr
	var status ast.Expr
	for i, e := range lit.Elts {
		name, value := fieldAt(st, i), e
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			name, value = kv.Key.(*ast.Ident).Name, kv.Value
		}
		switch {
		case isSlot(name):
			codes = append(codes, value)
		case isStatusSlot(name):
			status = value
		}
	}
	for _, code := range codes {
		s.code(code, status)
	}
}

// elided looks at elements whose type the list says.
func (s *source) elided(lit *ast.CompositeLit, elem ast.Expr) {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Value
		}
		if inner, ok := e.(*ast.CompositeLit); ok && inner.Type == nil {
			s.literal(inner, elem)
		}
	}
}

func fieldAt(st *ast.StructType, i int) string {
	if st == nil {
		return ""
	}
	for _, f := range st.Fields.List {
		for _, n := range f.Names {
			if i == 0 {
				return n.Name
			}
			i--
		}
	}
	return ""
}

func (s *source) assign(a *ast.AssignStmt) {
	if len(a.Lhs) != len(a.Rhs) {
		return
	}
	for i, l := range a.Lhs {
		name := ""
		switch l := l.(type) {
		case *ast.Ident:
			name = l.Name
		case *ast.SelectorExpr:
			name = l.Sel.Name
		}
		if isSlot(name) {
			var status ast.Expr
			for j, other := range a.Lhs {
				if sel, ok := other.(*ast.SelectorExpr); ok && isStatusSlot(sel.Sel.Name) {
					status = a.Rhs[j]
				}
			}
			s.code(a.Rhs[i], status)
		}
	}
}

// results looks at what a function returns whose name says that it is a code.
func (s *source) results(f *ast.FuncDecl) {
	if !strings.HasSuffix(f.Name.Name, "Code") || f.Body == nil || f.Type.Results == nil || !isIdentNamed(f.Type.Results.List[0].Type, "string") {
		return
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
			s.code(r.Results[0], nil)
		}
		return true
	})
}

// code notes what an expression in the place of a code is. One that is another such place is looked at there.
func (s *source) code(e, status ast.Expr) {
	at := s.fset.Position(e.Pos())
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return // a number that is called code
		}
		value, err := strconv.Unquote(e.Value)
		if err == nil && value != "" && unsent[value] == "" {
			s.found = append(s.found, answer{value, s.status(status), at})
		}
		return
	case *ast.Ident:
		if c := s.consts[e.Name]; c != nil {
			s.code(c, status)
			return
		}
		if isSlot(e.Name) {
			return
		}
	case *ast.SelectorExpr:
		if isSlot(e.Sel.Name) || isIdentNamed(e.X, "types") { // an enum of the SDK, in an answer that is no error
			return
		}
	case *ast.IndexExpr, *ast.CallExpr: // of a table or a function that is looked at by its own name
		if isSlot(nameOf(e)) {
			return
		}
	}
	s.opaque = append(s.opaque, at.String())
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.IndexExpr:
		return strings.TrimSuffix(nameOf(e.X), "s")
	case *ast.CallExpr:
		return nameOf(e.Fun)
	}
	return ""
}

// status is the number that an expression is, 0 when it is not one at hand.
func (s *source) status(e ast.Expr) int {
	switch e := e.(type) {
	case *ast.BasicLit:
		n, err := strconv.Atoi(e.Value)
		if err == nil {
			return n
		}
	case *ast.Ident:
		if c := s.consts[e.Name]; c != nil {
			return s.status(c)
		}
	case *ast.SelectorExpr:
		if isIdentNamed(e.X, "http") {
			return statusNamed(e.Sel.Name)
		}
	}
	return 0
}

// statusNamed is the number of http.StatusX, by the text that package http has for it.
func statusNamed(name string) int {
	special := map[string]int{"StatusRequestedRangeNotSatisfiable": 416, "StatusPreconditionFailed": 412, "StatusTeapot": 418}
	if n := special[name]; n != 0 {
		return n
	}
	for n := 100; n < 600; n++ {
		if text := http.StatusText(n); text != "" && "Status"+strings.NewReplacer(" ", "", "-", "", "'", "").Replace(text) == name {
			return n
		}
	}
	return 0
}

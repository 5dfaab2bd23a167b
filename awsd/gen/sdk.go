package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// sdk is what a service package of aws-sdk-go-v2 declares: enough to join the model with it. It is read
// from source text alone: type-checking service/ec2 costs minutes and gigabytes and tells nothing more.
type sdk struct {
	structs map[string]goStruct // "CreateBucketInput" or "types.Tag"
	unions  map[string][]string // "types.MetricsFilter" to its member structs
	enums   map[string][]string // "types.StorageClass" to its values
}

// goStruct maps a field's name to its type as written, always qualified: "*types.Tag".
type goStruct map[string]string

func moduleDir(path string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w", path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func readSDK(importPath string) (*sdk, error) {
	dir, err := moduleDir(importPath)
	if err != nil {
		return nil, err
	}
	s := &sdk{structs: map[string]goStruct{}, unions: map[string][]string{}, enums: map[string][]string{}}
	for _, part := range []struct{ pattern, pkg string }{{"api_op_*.go", ""}, {"types/*.go", "types."}} {
		files, err := filepath.Glob(filepath.Join(dir, part.pattern))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if err := s.read(f, part.pkg); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// read takes in the declarations of one file; pkg qualifies the names that it declares.
func (s *sdk) read(file, pkg string) error {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			s.declare(d, pkg)
		case *ast.FuncDecl:
			s.method(d, pkg)
		}
	}
	return nil
}

func (s *sdk) declare(d *ast.GenDecl, pkg string) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			switch t := spec.Type.(type) {
			case *ast.StructType:
				s.structs[pkg+spec.Name.Name] = fields(t, pkg)
			case *ast.Ident:
				if t.Name == "string" {
					s.enums[pkg+spec.Name.Name] = nil
				}
			}
		case *ast.ValueSpec:
			s.constant(spec, pkg)
		}
	}
}

// constant adds an enum's value: `StorageClassGlacier StorageClass = "GLACIER"`.
func (s *sdk) constant(spec *ast.ValueSpec, pkg string) {
	if spec.Type == nil || len(spec.Values) != 1 {
		return
	}
	lit, ok := spec.Values[0].(*ast.BasicLit)
	if !ok {
		return
	}
	value, err := strconv.Unquote(lit.Value)
	if err != nil {
		return
	}
	name := typeName(spec.Type, pkg)
	s.enums[name] = append(s.enums[name], value)
}

// method finds a union's members: `func (*MetricsFilterMemberAnd) isMetricsFilter() {}`.
func (s *sdk) method(d *ast.FuncDecl, pkg string) {
	union, ok := strings.CutPrefix(d.Name.Name, "is")
	if d.Recv == nil || pkg == "" || !ok {
		return
	}
	name := strings.TrimPrefix(typeName(d.Recv.List[0].Type, ""), "*")
	if strings.HasPrefix(name, union+"Member") {
		s.unions[pkg+union] = append(s.unions[pkg+union], pkg+name)
	}
}

func fields(t *ast.StructType, pkg string) goStruct {
	g := goStruct{}
	for _, f := range t.Fields.List {
		for _, n := range f.Names {
			if n.IsExported() {
				g[n.Name] = typeName(f.Type, pkg)
			}
		}
	}
	return g
}

func typeName(e ast.Expr, pkg string) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return "*" + typeName(e.X, pkg)
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt, pkg)
	case *ast.MapType:
		return "map[" + typeName(e.Key, pkg) + "]" + typeName(e.Value, pkg)
	case *ast.SelectorExpr:
		return typeName(e.X, "") + "." + e.Sel.Name
	case *ast.Ident:
		if ast.IsExported(e.Name) {
			return pkg + e.Name
		}
		return e.Name
	}
	return fmt.Sprintf("%T", e)
}

package ec2

import (
	"slices"
	"strings"
)

// Architectures, as EC2 names them.
const (
	archX86 = "x86_64"
	archARM = "arm64"
)

// instanceType is a size that instances can have.
type instanceType struct {
	Name    string // "t3.micro"
	VCPUs   int
	Memory  int64 // MiB
	Arch    string
	Threads int  // per core
	Burst   bool // what AWS calls burstable
	Current bool // generation
}

// size is a step of a family of types.
type size struct {
	name   string
	vcpus  int
	memory int64 // MiB
}

// Steps that families share. Source: "Amazon EC2 instance types".
var (
	burstSizes = []size{
		{"nano", 2, 512}, {"micro", 2, 1024}, {"small", 2, 2048}, {"medium", 2, 4096}, {"large", 2, 8192},
		{"xlarge", 4, 16384}, {"2xlarge", 8, 32768},
	}
	firstBurstSizes = []size{
		{"nano", 1, 512}, {"micro", 1, 1024}, {"small", 1, 2048}, {"medium", 2, 4096}, {"large", 2, 8192},
		{"xlarge", 4, 16384}, {"2xlarge", 8, 32768},
	}
	generalSizes  = []size{{"large", 2, 8192}, {"xlarge", 4, 16384}, {"2xlarge", 8, 32768}, {"4xlarge", 16, 65536}}
	generalSmall  = append([]size{{"medium", 1, 4096}}, generalSizes...)
	computeSizes  = []size{{"large", 2, 4096}, {"xlarge", 4, 8192}, {"2xlarge", 8, 16384}, {"4xlarge", 16, 32768}}
	computeSmall  = append([]size{{"medium", 1, 2048}}, computeSizes...)
	memorySizes   = []size{{"large", 2, 16384}, {"xlarge", 4, 32768}, {"2xlarge", 8, 65536}, {"4xlarge", 16, 131072}}
	memorySmall   = append([]size{{"medium", 1, 8192}}, memorySizes...)
	instanceTypes = slices.Concat(
		family(instanceType{Name: "t2", Arch: archX86, Threads: 1, Burst: true, Current: true}, firstBurstSizes),
		family(instanceType{Name: "t3", Arch: archX86, Threads: 2, Burst: true, Current: true}, burstSizes),
		family(instanceType{Name: "t3a", Arch: archX86, Threads: 2, Burst: true, Current: true}, burstSizes),
		family(instanceType{Name: "t4g", Arch: archARM, Threads: 1, Burst: true, Current: true}, burstSizes),
		family(instanceType{Name: "m5", Arch: archX86, Threads: 2, Current: true}, generalSizes),
		family(instanceType{Name: "m5a", Arch: archX86, Threads: 2, Current: true}, generalSizes),
		family(instanceType{Name: "m6i", Arch: archX86, Threads: 2, Current: true}, generalSizes),
		family(instanceType{Name: "m6g", Arch: archARM, Threads: 1, Current: true}, generalSmall),
		family(instanceType{Name: "c5", Arch: archX86, Threads: 2, Current: true}, computeSizes),
		family(instanceType{Name: "c6g", Arch: archARM, Threads: 1, Current: true}, computeSmall),
		family(instanceType{Name: "r5", Arch: archX86, Threads: 2, Current: true}, memorySizes),
		family(instanceType{Name: "r6g", Arch: archARM, Threads: 1, Current: true}, memorySmall),
	)
)

func family(of instanceType, sizes []size) []instanceType {
	out := make([]instanceType, 0, len(sizes))
	for _, s := range sizes {
		t := of
		t.Name, t.VCPUs, t.Memory = of.Name+"."+s.name, s.vcpus, s.memory
		t.Threads = min(t.Threads, t.VCPUs)
		out = append(out, t)
	}
	return out
}

// typeNamed is the type of a name.
func typeNamed(name string) (instanceType, bool) {
	i := slices.IndexFunc(instanceTypes, func(t instanceType) bool { return t.Name == name })
	if i < 0 {
		return instanceType{}, false
	}
	return instanceTypes[i], true
}

// defaultType is what an instance is when its request does not say, as in EC2; of another architecture the like.
func defaultType(arch string) string {
	if arch == archARM {
		return "t4g.small"
	}
	return "t3.micro"
}

// checkType refuses a name that is no type's.
func checkType(name string) (instanceType, error) {
	t, ok := typeNamed(name)
	if !ok {
		return t, invalid("Invalid value '%s' for InstanceType.", strings.ToValidUTF8(name, "?"))
	}
	return t, nil
}

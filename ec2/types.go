package ec2

// Architectures, as EC2 names them.
const (
	archX86 = "x86_64"
	archARM = "arm64"
)

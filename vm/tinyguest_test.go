package vm

import (
	"encoding/hex"
	"errors"
	"os"
)

// guestCode is the operating system of these tests: a boot sector that says on the serial port what happens to it, obeys
// the power button, and reads its orders from the disk's second sector, again and again. In GNU assembler:
//
//	.code16
//	    ljmp $0,$1f
//	1:  cli; xor %ax,%ax; mov %ax,%ds; mov %ax,%ss; mov $0x7c00,%sp; sti; mov %dl,drive
//	    mov $0x602,%dx; mov $0x100,%ax; out %ax,%dx     # PM1 enable: the power button tells
//	    mov $'+',%al; call putc                         # booted
//	loop:
//	    mov $0x600,%dx; in %dx,%ax; test $1,%ah; jnz off # PM1 status: the button was pressed
//	    movw $1,dap+2; mov $0x42,%ah; mov drive,%dl; mov $dap,%si; int $0x13; jc err
//	    mov 0x8000,%al; cmp $'o',%al; je off
//	    cmp $'p',%al; jne loop; cmpb $0,panicked; jne loop
//	    movb $1,panicked; mov $'P',%al; call putc
//	    mov $0x505,%dx; mov $1,%al; out %al,%dx; jmp loop # pvpanic
//	err: mov $'E',%al; call putc; jmp loop              # the disk does not answer
//	off: mov $'.',%al; call putc
//	    mov $0x604,%dx; mov $0x2000,%ax; out %ax,%dx    # PM1 control: soft off
//	2:  hlt; jmp 2b
//	putc: mov $0x3f8,%dx; out %al,%dx; ret
//	dap:  .byte 16,0; .word 1,0x8000,0; .quad 1         # one sector, to 0x8000, from the second on
//	drive: .byte 0
//	panicked: .byte 0
const guestCode = "ea057c0000fa31c08ed88ed0bc007cfb88168b7cba0206b80001efb02be85600" +
	"ba0006edf6c401753ec7067d7c0100b4428a168b7cbe7b7ccd137224a000803c" +
	"6f74243c7075d9803e8c7c0075d2c6068c7c01b050e81e00ba0505b001eeebc0" +
	"b045e81100ebb9b02ee80a00ba0406b80020eff4ebfdbaf803eec31000010000" +
	"8000000100000000000000000000000000000000000000000000000000000000"

// writeGuest makes a disk boot into it.
func writeGuest(disk *os.File) error {
	code, err := hex.DecodeString(guestCode)
	if err != nil {
		return err
	}
	_, err = disk.WriteAt(code, 0)
	_, err2 := disk.WriteAt([]byte{0x55, 0xaa}, 510)
	return errors.Join(err, err2)
}

package qemu

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

func emulator(t *testing.T) string {
	t.Helper()
	binary, err := FindEmulator(X86)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func TestProbesGuestComesToItsEndByTranslation(t *testing.T) {
	took, err := probeGuest(t.Context(), emulator(t), TCG, "max")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(took)
}

func TestProbeAnswersAsItsGuestDid(t *testing.T) {
	binary := emulator(t)
	accel, why := Probe(t.Context(), binary)
	t.Log(accel, why)
	if why == "" || strings.Contains(why, "\n") {
		t.Errorf("why is %q, not a line", why)
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		if accel != TCG {
			t.Errorf("%s without /dev/kvm", accel)
		}
		return
	}
	if _, err := probeGuest(t.Context(), binary, KVM, "host"); (err == nil) != (accel == KVM) {
		t.Errorf("the guest: %v, the answer: %s", err, accel)
	}
}

func TestProbeOfAGuestThatNeverEndsTakesItsTimeOnly(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := probeGuest(ctx, emulator(t), TCG, "486") // no long mode: it faults for ever
	if err == nil {
		t.Fatal("a guest without long mode ended")
	}
	t.Log(err)
}

func TestAnEmulatorThatCannotStartIsNamed(t *testing.T) {
	_, err := probeGuest(t.Context(), emulator(t), TCG, "no-such-processor")
	if err == nil || !strings.Contains(err.Error(), "no-such-processor") {
		t.Errorf("error is %v", err)
	}
}

func TestSandboxIsProbed(t *testing.T) {
	if !SandboxWorks(t.Context(), emulator(t)) {
		t.Error("distributions build QEMU with the sandbox")
	}
	if SandboxWorks(t.Context(), "/bin/false") {
		t.Error("works without an emulator")
	}
}

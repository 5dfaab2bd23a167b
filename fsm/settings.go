package fsm

// ChangeSettings puts new settings in force that say nothing new of the members.
type ChangeSettings struct {
	Settings Settings `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *ChangeSettings) Kind() Kind { return 8 }

// Check refuses a stale epoch (ErrConflict).
func (c *ChangeSettings) Check(v *View) error { return c.Settings.next(v) }

// Record writes the settings.
func (c *ChangeSettings) Record(w *Writer) { c.Settings.install(w) }

package fsm

import (
	"cmp"
	"slices"
)

// JobType is what a job was for.
type JobType string

// Types of jobs.
const (
	CredentialReport JobType = "credential-report" // one per account, its id is CredentialReport
	AccessReport     JobType = "access-report"     // what GenerateServiceLastAccessedDetails found
	RoleDeletion     JobType = "role-deletion"     // of a service-linked role
)

// JobsKept is how many jobs of a type an account keeps; the oldest go first.
const JobsKept = 100

const maxJobResult = 16 << 20

// Job is what became of a request whose answer is asked for later.
type Job struct {
	Meta
	Account AccountID `cbor:"1,keyasint"`
	Type    JobType   `cbor:"2,keyasint"`
	ID      string    `cbor:"3,keyasint"`
	Created int64     `cbor:"4,keyasint"`           // Unix seconds
	Result  []byte    `cbor:"5,keyasint,omitempty"` // gzip of what the type says
}

// jobKey is an account, a zero byte, a type, a zero byte and an id.
type jobKey string

func keyOfJob(account AccountID, kind JobType, id string) jobKey {
	return jobKey(Key(string(account), string(kind), id))
}

var jobs = Table[jobKey, Job]{Name: "iam-job"}

// JobOf is a job of an account.
func JobOf(v *View, account AccountID, kind JobType, id string) (Job, bool) {
	if !validIAM(id, 1000) {
		return Job{}, false
	}
	return jobs.Get(v, keyOfJob(account, kind, id))
}

// PutJob records what became of a request, over what was there under its id.
type PutJob struct {
	Job Job `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *PutJob) Kind() Kind { return 251 }

// Check refuses an unknown account (ErrNotFound) and results beyond 16 MiB (ErrLimit).
func (c *PutJob) Check(v *View) error {
	j := c.Job
	known := j.Type == CredentialReport || j.Type == AccessReport || j.Type == RoleDeletion
	if !known || !validIAM(j.ID, 1000) {
		return Errorf(ErrInvalid, "job/"+j.ID)
	}
	if len(j.Result) > maxJobResult {
		return Errorf(ErrLimit, "quota/JobResultSize: %d", maxJobResult)
	}
	if !accounts.Has(v, j.Account) {
		return Errorf(ErrNotFound, "account/"+string(j.Account))
	}
	return nil
}

// Record writes the job and removes the oldest of too many.
func (c *PutJob) Record(w *Writer) {
	jobs.Put(w, keyOfJob(c.Job.Account, c.Job.Type, c.Job.ID), c.Job)
	var all []Job
	for _, j := range jobs.Scan(&w.View, keyOfJob(c.Job.Account, c.Job.Type, "")) {
		j.Result = nil
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b Job) int { return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.ID, b.ID)) })
	for len(all) > JobsKept {
		jobs.Delete(w, keyOfJob(all[0].Account, all[0].Type, all[0].ID))
		all = all[1:]
	}
}

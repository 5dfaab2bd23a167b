package iam

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// accessReport is what GenerateServiceLastAccessedDetails found: the services that an entity or policy allows, and for each
// the entities that could so use it. A job's record holds it as JSON.
type accessReport struct {
	Granularity string
	Services    []accessedService
}

type accessedService struct {
	Namespace, Name string
	Entities        []accessEntity
}

// accessEntity is a user or role that may use a service, and when it did: known of the service that each of its keys or
// itself used last.
type accessEntity struct {
	Kind, ID, Name, Path, ARN string
	Used                      int64  `json:",omitempty"` // Unix seconds; 0: not known to have
	Region                    string `json:",omitempty"`
}

const jobIDLength = 36

// GenerateServiceLastAccessedDetails finds the services that a user, group, role or managed policy allows, and when they
// were last used by it. The job is done when it answers. Actions are not told apart. Errors: NoSuchEntity, InvalidInput.
func (s *Service) GenerateServiceLastAccessedDetails(ctx context.Context, c *principal.Caller, in *awsiam.GenerateServiceLastAccessedDetailsInput) (*awsiam.GenerateServiceLastAccessedDetailsOutput, error) {
	arn, err := validARNOf(in.Arn, "arn")
	if err != nil {
		return nil, err
	}
	report := accessReport{Granularity: cmp.Or(string(in.Granularity), string(types.AccessAdvisorUsageGranularityTypeServiceLevel))}
	if !slices.Contains(in.Granularity.Values(), types.AccessAdvisorUsageGranularityType(report.Granularity)) {
		return nil, constraint(quoted(report.Granularity), "granularity", "Member must satisfy enum value set: [ACTION_LEVEL, SERVICE_LEVEL]")
	}
	id, err := s.newUUID()
	if err != nil {
		return nil, err
	}
	err = s.decide(ctx, c, arn, func(v *fsm.View) (fsm.Command, error) {
		policies, entities, err := accessOf(v, c, arn)
		if err != nil {
			return nil, err
		}
		report.Services = report.Services[:0]
		for _, service := range knownServices() {
			if slices.ContainsFunc(policies, func(o outline) bool { return o.grants(service.namespace) }) {
				report.Services = append(report.Services, accessedService{service.namespace, service.name, usersOf(v, entities, service.namespace)})
			}
		}
		plain, err := json.Marshal(report)
		if err != nil {
			return nil, fmt.Errorf("write a report of access: %w", err)
		}
		packed, err := pack(plain)
		return &fsm.PutJob{Job: fsm.Job{
			Account: fsm.AccountID(c.Account), Type: fsm.AccessReport, ID: id, Created: s.cfg.Clock().Unix(), Result: packed,
		}}, err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GenerateServiceLastAccessedDetailsOutput{JobId: aws.String(id)}, nil
}

// accessOf is what an ARN names: its policies, and the users and roles that have them by it.
func accessOf(v *fsm.View, c *principal.Caller, arn string) (policies []outline, entities []fsm.Entity, err error) {
	if doc, ok := managedDocument(v, fsm.AccountID(c.Account), arn); ok {
		o, err := outlineOf(doc)
		for id := range fsm.AttachedTo(v, fsm.AccountID(c.Account), arn, "") {
			if e, ok := fsm.EntityByID(v, fsm.AccountID(c.Account), id); ok {
				entities = append(entities, members(v, e)...)
			}
		}
		return []outline{o}, entities, err
	}
	from, err := sourceIn(v, c, &arn, "arn")
	if err != nil {
		return nil, nil, err
	}
	all, err := grantingOf(v, from.entity)
	for _, g := range all {
		policies = append(policies, g.outline)
	}
	return policies, members(v, from.entity), err
}

// members are the users of a group, or else the user or role itself.
func members(v *fsm.View, e fsm.Entity) []fsm.Entity {
	if e.ID.Kind() != fsm.GroupEntity {
		return []fsm.Entity{e}
	}
	var out []fsm.Entity
	for u := range fsm.UsersOfGroup(v, e.Account, e.ID, "") {
		out = append(out, u.Entity())
	}
	return out
}

// usersOf are entities, each once, with when they used a service last: the latest first, then by ARN.
func usersOf(v *fsm.View, entities []fsm.Entity, service string) []accessEntity {
	out := []accessEntity{}
	for _, e := range entities {
		a := accessEntity{Kind: string(e.ID.Kind()), ID: string(e.ID), Name: e.Name, Path: e.Path, ARN: e.ARN()}
		for _, used := range usesOf(v, e) {
			if used.Service == service && used.Time > a.Used {
				a.Used, a.Region = used.Time, used.Region
			}
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b accessEntity) int { return cmp.Or(cmp.Compare(b.Used, a.Used), cmp.Compare(a.ARN, b.ARN)) })
	return slices.CompactFunc(out, func(a, b accessEntity) bool { return a.ID == b.ID })
}

func usesOf(v *fsm.View, e fsm.Entity) (out []fsm.LastUsed) {
	if used, ok := fsm.RoleLastUsed(v, e.Account, e.ID); ok {
		out = append(out, used)
	}
	if e.ID.Kind() == fsm.UserEntity {
		for _, k := range fsm.AccessKeysOf(v, e.Account, e.ID) {
			if used, ok := fsm.KeyLastUsed(v, e.Account, k.ID); ok {
				out = append(out, used)
			}
		}
	}
	return out
}

// accessJob is the job of an id and its report. Errors: NoSuchEntity.
func (s *Service) accessJob(ctx context.Context, c *principal.Caller, value *string) (job fsm.Job, report accessReport, err error) {
	id, err := required(value, "jobId", jobIDLength)
	if err != nil {
		return job, report, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		var ok bool
		if job, ok = fsm.JobOf(v, fsm.AccountID(c.Account), fsm.AccessReport, id); !ok {
			return fsm.Errorf(fsm.ErrNotFound, "access-job/"+id)
		}
		return nil
	})
	if err != nil {
		return job, report, err
	}
	plain, err := unpack(job.Result)
	if err != nil {
		return job, report, err
	}
	if err := json.Unmarshal(plain, &report); err != nil {
		return job, report, fmt.Errorf("read a report of access: %w", err)
	}
	return job, report, nil
}

// GetServiceLastAccessedDetails is what a job found, service by service in order of namespace. Errors: NoSuchEntity.
func (s *Service) GetServiceLastAccessedDetails(ctx context.Context, c *principal.Caller, in *awsiam.GetServiceLastAccessedDetailsInput) (*awsiam.GetServiceLastAccessedDetailsOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	job, report, err := s.accessJob(ctx, c, in.JobId)
	if err != nil {
		return nil, err
	}
	services, next := cut(p, report.Services, func(a accessedService) string { return a.Namespace })
	out := &awsiam.GetServiceLastAccessedDetailsOutput{
		JobStatus: types.JobStatusTypeCompleted, JobType: types.AccessAdvisorUsageGranularityType(report.Granularity), JobCreationDate: date(job.Created),
		JobCompletionDate: date(job.Created), ServicesLastAccessed: []types.ServiceLastAccessed{}, IsTruncated: next != nil, Marker: next,
	}
	for _, a := range services {
		out.ServicesLastAccessed = append(out.ServicesLastAccessed, a.out())
	}
	return out, nil
}

func (a accessedService) out() types.ServiceLastAccessed {
	out := types.ServiceLastAccessed{ServiceName: aws.String(a.Name), ServiceNamespace: aws.String(a.Namespace)}
	total := int32(0)
	for _, e := range a.Entities {
		if e.Used == 0 {
			continue
		}
		if total++; total == 1 { // the latest comes first
			out.LastAuthenticated, out.LastAuthenticatedEntity, out.LastAuthenticatedRegion = date(e.Used), aws.String(e.ARN), optional(e.Region)
		}
	}
	out.TotalAuthenticatedEntities = aws.Int32(total)
	return out
}

// GetServiceLastAccessedDetailsWithEntities lists the users and roles that could use a service by what a job looked at, and
// when they did. Errors: NoSuchEntity, InvalidInput for a service that the job did not find.
func (s *Service) GetServiceLastAccessedDetailsWithEntities(ctx context.Context, c *principal.Caller, in *awsiam.GetServiceLastAccessedDetailsWithEntitiesInput) (*awsiam.GetServiceLastAccessedDetailsWithEntitiesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	namespace, err := required(in.ServiceNamespace, "serviceNamespace", 64)
	if err != nil {
		return nil, err
	}
	job, report, err := s.accessJob(ctx, c, in.JobId)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(report.Services, func(a accessedService) bool { return a.Namespace == namespace })
	if i < 0 {
		return nil, invalidInput("The service namespace %s is not in the report of job %s.", quoted(namespace), job.ID)
	}
	entities := report.Services[i].Entities
	slices.SortFunc(entities, func(a, b accessEntity) int { return cmp.Compare(a.ARN, b.ARN) })
	entities, next := cut(p, entities, func(e accessEntity) string { return e.ARN })
	out := &awsiam.GetServiceLastAccessedDetailsWithEntitiesOutput{
		JobStatus: types.JobStatusTypeCompleted, JobCreationDate: date(job.Created), JobCompletionDate: date(job.Created),
		EntityDetailsList: []types.EntityDetails{}, IsTruncated: next != nil, Marker: next,
	}
	for _, e := range entities {
		out.EntityDetailsList = append(out.EntityDetailsList, e.out())
	}
	return out, nil
}

func (e accessEntity) out() types.EntityDetails {
	kind := types.PolicyOwnerEntityTypeUser
	if e.Kind == string(fsm.RoleEntity) {
		kind = types.PolicyOwnerEntityTypeRole
	}
	out := types.EntityDetails{EntityInfo: &types.EntityInfo{
		Arn: aws.String(e.ARN), Id: aws.String(e.ID), Name: aws.String(e.Name), Path: aws.String(e.Path), Type: kind,
	}}
	if e.Used != 0 {
		out.LastAuthenticated = date(e.Used)
	}
	return out
}

package actions

import (
	"net/url"
	"strings"

	"hive/fsm"
)

// form is how a need's arguments tell which resources it means: it appends them.
type form func(t *targets, e *env, dst []target) []target

// shape is a form and how many arguments it has.
type shape struct {
	of          form
	least, most int
	state       bool // it asks the state whatever the kind
	blind       bool // it never asks the state
}

// forms are all forms but that of objects, by the name after the dot.
var forms = map[string]shape{
	"":            {of: each, least: 0, most: 1},
	"arn":         {of: byARN, least: 1, most: 1},
	"new":         {of: made, least: 2, most: 2, blind: true},
	"moved":       {of: moved, least: 3, most: 3},
	"under":       {of: below, least: 1, most: 1, blind: true},
	"url":         {of: byURL, least: 1, most: 1, blind: true},
	"linked":      {of: linked, least: 1, most: 1, blind: true},
	"task":        {of: ofTask, least: 1, most: 1},
	"key":         {of: ofKey, least: 1, most: 1, state: true},
	"profile":     {of: ofProfile, least: 1, most: 1, state: true},
	"source":      {of: copySource, least: 1, most: 1},
	"disk":        {of: disk, least: 3, most: 3},
	"of":          {of: vpcOf, least: 1, most: 1, state: true},
	"named":       {of: groupNamed, least: 1, most: 2, state: true},
	"id":          {of: byID, least: 1, most: 1, state: true},
	"made":        {of: withTags, least: 1, most: 1, blind: true},
	"launched":    {of: launched, least: 1, most: 1, state: true},
	"association": {of: associated, least: 1, most: 1, state: true},
	"attached":    {of: attached, least: 2, most: 2, state: true},
	"tagged":      {of: taggedARNs(true), least: 1, most: 1, state: true},
	"untagged":    {of: taggedARNs(false), least: 1, most: 1, state: true},
}

// plainForm is what a resource part without a form means.
func plainForm(k *kind) shape {
	if k != nil && k.name == "object" {
		return shape{of: object, least: 2, most: 3}
	}
	return forms[""]
}

// each is every resource that the argument names, by id or by name: TYPE(Member).
func each(t *targets, e *env, dst []target) []target {
	if t.kind == nil {
		return append(dst, target{arn: "*"})
	}
	if len(t.args) == 0 {
		return append(dst, target{arn: t.kind.arnOf(e.caller.Account), kind: t.kind})
	}
	names := t.args[0].values(e, "")
	for _, name := range names {
		if strings.HasPrefix(name, "arn:") && t.kind.service == "iam" { // the caller, who is no user
			dst = append(dst, target{arn: name, kind: t.kind})
			continue
		}
		dst = append(dst, t.kind.named(e, name))
	}
	return t.orAny(e, dst, len(names))
}

// orAny stands in for resources that the request does not name.
func (t *targets) orAny(e *env, dst []target, found int) []target {
	if found == 0 && !t.args[0].optional {
		dst = append(dst, t.kind.any(e))
	}
	return dst
}

// byARN is every resource whose ARN the argument gives: TYPE.arn(Member).
func byARN(t *targets, e *env, dst []target) []target {
	arns := t.args[0].values(e, "")
	for _, arn := range arns {
		dst = append(dst, t.kind.exactly(e, arn))
	}
	return t.orAny(e, dst, len(arns))
}

// made is an IAM entity that is to be: TYPE.new(Path,Name).
func made(t *targets, e *env, dst []target) []target {
	path, name := t.arg(e, 0), t.arg(e, 1)
	if path == "" {
		path = "/"
	}
	if name == "" {
		name = "*"
	}
	return append(dst, target{arn: t.kind.arnOf(e.caller.Account, path, name), kind: t.kind})
}

// moved is an IAM entity as it is to be called: TYPE.moved(Name,NewPath,NewName). Renaming needs the permission on both.
func moved(t *targets, e *env, dst []target) []target {
	x := t.kind.named(e, t.arg(e, 0))
	if path := t.arg(e, 1); path != "" {
		x.path = path
	}
	if name := t.arg(e, 2); name != "" {
		x.name = name
	}
	x.arn = t.kind.arnOf(e.caller.Account, x.path, x.name)
	return append(dst, x)
}

// below is all entities below a path: TYPE.under(PathPrefix).
func below(t *targets, e *env, dst []target) []target {
	prefix := t.arg(e, 0)
	if !strings.HasPrefix(prefix, "/") {
		prefix = "/"
	}
	return append(dst, target{arn: t.kind.arnOf(e.caller.Account, prefix, ""), kind: t.kind})
}

// byURL is the OIDC provider of an URL: TYPE.url(Url).
func byURL(t *targets, e *env, dst []target) []target {
	name := strings.TrimPrefix(t.arg(e, 0), "https://")
	if name == "" {
		return append(dst, t.kind.any(e))
	}
	return append(dst, target{arn: t.kind.arnOf(e.caller.Account, name), kind: t.kind})
}

// linkedPath is where service-linked roles are.
const linkedPath = "/aws-service-role/"

// linked is the role that is to be made for a service: role.linked(AWSServiceName). Its name is the service's to choose.
func linked(t *targets, e *env, dst []target) []target {
	path := linkedPath
	if service := t.arg(e, 0); service != "" {
		path += service + "/"
	}
	return append(dst, target{arn: t.kind.arnOf(e.caller.Account, path, "*"), kind: t.kind})
}

// ofTask is the service-linked role of a deletion: its id is task/aws-service-role/SERVICE/ROLE/UUID.
func ofTask(t *targets, e *env, dst []target) []target {
	id := strings.Split(t.arg(e, 0), "/")
	if len(id) != 5 || id[0] != "task" {
		return append(dst, t.kind.any(e))
	}
	arn := t.kind.arnOf(e.caller.Account, "/"+id[1]+"/"+id[2]+"/", id[3])
	return append(dst, t.kind.exactly(e, arn))
}

// ofKey is the user of an access key: user.key(AccessKeyId).
func ofKey(t *targets, e *env, dst []target) []target {
	if e.view != nil {
		key, ok := fsm.AccessKeyByID(e.view, fsm.AccessKeyID(t.arg(e, 0)))
		switch {
		case !ok || key.Account != e.account(): // another account's keys are nobody's: a denial would name their user
		case key.Root():
			return append(dst, target{arn: "arn:aws:iam::" + string(key.Account) + ":root"})
		default:
			if u, ok := fsm.UserByID(e.view, key.Account, key.User); ok {
				return append(dst, target{arn: u.ARN(), kind: t.kind, record: recordOfUser(u)})
			}
		}
	}
	return append(dst, t.kind.any(e))
}

// ofProfile is the role that an instance profile carries: role.profile(ARN+NAME). It is every role as long as the profile
// or its role is not known here: another node may know it.
func ofProfile(t *targets, e *env, dst []target) []target {
	for _, name := range t.args[0].values(e, "") {
		dst = append(dst, t.roleOf(e, name))
	}
	return dst
}

func (t *targets) roleOf(e *env, profile string) target {
	if e.view == nil {
		return t.kind.any(e)
	}
	p, ok := fsm.InstanceProfileByName(e.view, e.account(), profile)
	if strings.HasPrefix(profile, "arn:") {
		p, ok = fsm.InstanceProfileByARN(e.view, e.account(), profile)
	}
	if !ok || p.Role == "" {
		return t.kind.any(e)
	}
	r, ok := fsm.RoleByID(e.view, e.account(), p.Role)
	if !ok {
		return t.kind.any(e)
	}
	return target{arn: r.ARN(), kind: t.kind, record: recordOfRole(r)}
}

// object is an object, or a version of one: object(Bucket,Key[,VersionId]).
func object(t *targets, e *env, dst []target) []target {
	return append(dst, t.object(e, t.arg(e, 0), t.arg(e, 1), t.arg(e, 2)))
}

func (t *targets) object(e *env, bucket, key, version string) target {
	if bucket == "" {
		return target{arn: "arn:aws:s3:::*", kind: t.kind}
	}
	if key == "" {
		key = "*"
	}
	x := target{arn: t.kind.arnOf("", bucket, key), kind: t.kind}
	x.record = e.lookup(t.kind, bucket)
	if version != "" {
		x.versioned, x.more = true, []fact{{"s3:versionid", version}}
	}
	return x
}

// copySource is the object that a copy is made of: object.source(CopySource). A source that cannot be read is refused by
// the handler; until then it is every object.
func copySource(t *targets, e *env, dst []target) []target {
	path, query, _ := strings.Cut(t.arg(e, 0), "?")
	path, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
	bucket, key, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if err != nil || !ok || bucket == "" || key == "" {
		return append(dst, t.object(e, "", "", ""))
	}
	return append(dst, t.object(e, bucket, key, strings.TrimPrefix(query, "versionId=")))
}

// disk is the object that a disk is imported from: object.disk(BUCKET,KEY,s3://BUCKET/KEY). A source that names none, or
// two, is refused by the handler.
func disk(t *targets, e *env, dst []target) []target {
	bucket, key := t.arg(e, 0), t.arg(e, 1)
	if at := t.arg(e, 2); at != "" {
		if u, err := url.Parse(at); err == nil && u.Scheme == "s3" {
			dst = append(dst, t.object(e, u.Host, strings.TrimPrefix(u.Path, "/"), ""))
		}
		if bucket == "" {
			return dst
		}
	}
	return append(dst, t.object(e, bucket, key, ""))
}

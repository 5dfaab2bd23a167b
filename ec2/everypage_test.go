package ec2

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
)

// rowsOf are the ids of a describe's rows, in their order: what of each row no other has.
func rowsOf(t *testing.T, out any) (ids []string) {
	t.Helper()
	v := reflect.ValueOf(out).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() != reflect.Slice {
			continue
		}
		for j := range v.Field(i).Len() {
			ids = append(ids, rowID(t, v.Field(i).Index(j)))
		}
	}
	return ids
}

func rowID(t *testing.T, row reflect.Value) string {
	t.Helper()
	if x, ok := row.Interface().(types.TagDescription); ok {
		return *x.ResourceId + " " + *x.Key
	}
	for _, name := range []string{row.Type().Name() + "Id", "ImportTaskId", "AssociationId", "ReservationId", "NetworkInterfaceId", "InstanceId", "VolumeId", "GroupId", "InstanceType"} {
		f := row.FieldByName(name)
		if f.IsValid() && f.Kind() == reflect.String {
			return f.String()
		}
		if f.IsValid() && !f.IsNil() {
			return f.Elem().String()
		}
	}
	t.Fatalf("a row without a name: %+v", row.Interface())
	return ""
}

// askPage asks for a page.
func askPage(r *everyRig, client *sdk.Client, op *protocol.Operation, token *string, change func(in reflect.Value)) (any, *string, error) {
	in := reflect.New(reflect.ValueOf(r.request(r.t.(*testing.T), op.Name)).Elem().Type()).Elem()
	in.FieldByName(op.Notes.PageSize).Set(reflect.ValueOf(aws.Int32(5)))
	in.FieldByName(op.Notes.PageToken).Set(reflect.ValueOf(token))
	if change != nil {
		change(in)
	}
	out, err := call(r.ctx, client, op.Name, in.Addr().Interface())
	if err != nil {
		return nil, nil, err
	}
	next, _ := reflect.ValueOf(out).Elem().FieldByName(op.Notes.NextPageToken).Interface().(*string)
	return out, next, nil
}

// crowd makes so many of everything that lists have pages, and answers what takes one of everything away and makes one more.
func (r *everyRig) crowd() (churn func(i int)) {
	type one struct{ volume, snapshot, image, instance string }
	var all []one
	add := func(i int) {
		x := one{volume: r.storageRig.volume(1)}
		tags := []types.Tag{{Key: str("a"), Value: str("b")}}
		r.made(&sdk.CreateTagsInput{Resources: []string{x.volume}, Tags: tags}, nil)
		x.snapshot = r.blocks(map[int64]byte{0: 1})
		image := &sdk.RegisterImageOutput{}
		r.made(registration(x.snapshot, fmt.Sprint("image ", i)), image)
		x.image = *image.ImageId
		launched := &sdk.RunInstancesOutput{}
		in := launchOf(r.image, "t3.nano", 1, 1)
		in.IamInstanceProfile = profileNamed("web")
		r.made(in, launched)
		x.instance = *launched.Instances[0].InstanceId
		r.made(&sdk.ImportSnapshotInput{DiskContainer: &types.SnapshotDiskContainer{Url: str("s3://disks/disk")}}, nil)
		r.made(&sdk.ImportImageInput{DiskContainers: []types.ImageDiskContainer{{Format: str("raw"), Url: str("s3://disks/disk")}}}, nil)
		all = append(all, x)
	}
	for i := range 12 {
		add(i)
	}
	return func(i int) {
		x := all[0]
		all = all[1:]
		r.made(&sdk.DeleteVolumeInput{VolumeId: &x.volume}, nil)
		r.made(&sdk.DeregisterImageInput{ImageId: &x.image}, nil)
		r.made(&sdk.DeleteSnapshotInput{SnapshotId: &x.snapshot}, nil)
		r.made(&sdk.TerminateInstancesInput{InstanceIds: []string{x.instance}}, nil)
		r.observe(x.instance, fsm.InstanceTerminated)
		add(100 + i)
	}
}

func TestEveryListHasAllRowsOnceWhileTheyComeAndGo(t *testing.T) {
	r, tried, several := newEveryRig(t), 0, 0
	for i := range r.nodes {
		r.nodes[i].VCPUs, r.nodes[i].MemoryMiB = 400, 1<<20
	}
	churn := r.crowd()
	for n, op := range operations(t) {
		if op.Notes.PageToken == "" {
			continue
		}
		tried++
		whole := func() []string {
			in := reflect.New(reflect.ValueOf(r.request(t, op.Name)).Elem().Type()).Interface()
			out, err := call(r.ctx, r.client, op.Name, in)
			if err != nil {
				t.Fatalf("%s: %v", op.Name, err)
			}
			return rowsOf(t, out)
		}
		before := whole()
		var seen []string
		var token *string
		pages := 0
		for ; ; pages++ {
			out, next, err := askPage(r, r.client, op, token, nil)
			if err != nil {
				t.Fatalf("%s, page %d: %v", op.Name, pages, err)
			}
			if seen = append(seen, rowsOf(t, out)...); next == nil {
				break
			}
			token = next
			if pages < 2 {
				churn(10*n + pages)
			}
		}
		after := whole()
		for i, id := range seen {
			if slices.Contains(seen[:i], id) {
				t.Errorf("%s has %s twice", op.Name, id)
			}
		}
		for _, id := range before {
			if slices.Contains(after, id) && !slices.Contains(seen, id) {
				t.Errorf("%s has lost %s", op.Name, id)
			}
		}
		if pages > 0 {
			several++
		}
	}
	t.Logf("%d operations have pages, and %d had more than one", tried, several)
	if several < 12 {
		t.Error("the others have too few rows for that; these did before")
	}
}

func TestEveryPagesTokenIsGoodForItsRequestAlone(t *testing.T) {
	r, tokens := newEveryRig(t), map[string]string{}
	for i := range r.nodes {
		r.nodes[i].VCPUs, r.nodes[i].MemoryMiB = 400, 1<<20
	}
	r.crowd()
	var paged []*protocol.Operation
	for _, op := range operations(t) {
		if op.Notes.PageToken == "" {
			continue
		}
		paged = append(paged, op)
		_, next, err := askPage(r, r.client, op, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", op.Name, err)
		}
		if next != nil {
			tokens[op.Name] = *next
		}
	}
	refused := func(what string, op *protocol.Operation, client *sdk.Client, token string, change func(in reflect.Value)) {
		_, _, err := askPage(r, client, op, &token, change)
		if wantCode(t, err, "InvalidNextToken"); httpStatus(err) != 400 {
			t.Errorf("%s with the token %s: %v", op.Name, what, err)
		}
	}
	for _, op := range paged {
		for of, token := range tokens {
			if of != op.Name {
				refused("of "+of, op, r.client, token, nil)
			}
		}
		refused("that is none", op, r.client, "none", nil)
		token, ok := tokens[op.Name]
		if !ok {
			continue
		}
		if _, _, err := askPage(r, r.client, op, &token, nil); err != nil {
			t.Errorf("%s does not take its own token: %v", op.Name, err)
		}
		_, _, err := askPage(r, r.client, op, &token, func(in reflect.Value) { in.FieldByName("MaxResults").Set(reflect.ValueOf(aws.Int32(7))) })
		if err != nil {
			t.Errorf("%s does not take its token for pages of another size: %v", op.Name, err)
		}
		refused("of another account", op, r.bob, token, nil)
		refused("of other parameters", op, r.client, token, func(in reflect.Value) {
			name := "Filters"
			if !in.FieldByName(name).IsValid() {
				t.Fatalf("%s has no filters", op.Name)
			}
			in.FieldByName(name).Set(reflect.ValueOf([]types.Filter{{Name: str(knownFilter(r, op.Name)), Values: []string{"x"}}}))
		})
		for _, at := range []int{0, len(token) / 2, len(token) - 3} {
			changed := token[:at] + flipped(token[at]) + token[at+1:]
			refused("that was changed", op, r.client, changed, nil)
		}
		if strings.ContainsAny(token, " {\"") {
			t.Errorf("%s: the token can be read: %s", op.Name, token)
		}
	}
	t.Logf("%d operations, %d tokens", len(paged), len(tokens))
}

// flipped is another character of tokens.
func flipped(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func knownFilter(r *everyRig, op string) string {
	names := r.service.FilterNames(op)
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

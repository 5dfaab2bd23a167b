package main

import (
	"slices"
	"strings"
)

// The members by which AWS's operations are paged, as pairs of input and output. S3's markers are names and numbers that
// clients make up themselves: they are not among them, but IAM's Marker is opaque.
var (
	pageTokens = [][2]string{
		{"NextToken", "NextToken"}, {"PaginationToken", "PaginationToken"},
		{"ContinuationToken", "NextContinuationToken"}, {"ContinuationToken", "ContinuationToken"},
	}
	pageMarker  = [2]string{"Marker", "Marker"}
	pageSizes   = []string{"MaxResults", "MaxItems", "MaxKeys", "MaxBuckets", "MaxDirectoryBuckets", "ResourcesPerPage", "TagsPerPage"}
	clientToken = []string{"ClientToken", "ClientRequestToken"}
)

// notes are the marks of an operation that awsd goes by: how it is paged, its client token, its dry run, its filters.
func (t *table) notes(op operation) []string {
	in, out := t.sdk.structs[op.name+"Input"], t.sdk.structs[op.name+"Output"]
	var notes []string
	pairs := pageTokens
	if t.service.protocol == "awsQuery" {
		pairs = append(slices.Clone(pairs), pageMarker)
	}
	for _, p := range pairs {
		if in[p[0]] == "*string" && out[p[1]] == "*string" {
			notes = append(notes, "page="+strings.TrimSuffix(p[0]+":"+p[1]+":"+t.pageSize(in), ":"))
			break
		}
	}
	if name := t.clientToken(op); name != "" {
		notes = append(notes, "token="+name)
	}
	if in["DryRun"] == "*bool" {
		notes = append(notes, "dry")
	}
	if in["Filters"] == "[]types.Filter" {
		notes = append(notes, "filters")
	}
	return notes
}

func (t *table) pageSize(in goStruct) string {
	for _, name := range pageSizes {
		if in[name] == "*int32" {
			return name
		}
	}
	return ""
}

// clientToken is the Go field of the member by which a request that is sent again is known.
func (t *table) clientToken(op operation) string {
	s := t.model.Shapes[op.shape.Input.Target]
	if s == nil {
		return ""
	}
	for _, m := range s.Members {
		if m.Traits.has("idempotencyToken") || slices.Contains(clientToken, capital(m.Name)) {
			if t.sdk.structs[op.name+"Input"][capital(m.Name)] == "*string" {
				return capital(m.Name)
			}
		}
	}
	return ""
}

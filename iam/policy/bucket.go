package policy

import "strings"

// objectActions and bucketActions are what the policy of a bucket may speak of, without "s3:". Source: "Actions,
// resources, and condition keys for Amazon S3".
var (
	objectActions = strings.Fields(strings.ToLower(`
AbortMultipartUpload BypassGovernanceRetention DeleteObject DeleteObjectAnnotation DeleteObjectTagging
DeleteObjectVersion DeleteObjectVersionTagging GetObject GetObjectAcl GetObjectAnnotation GetObjectAttributes
GetObjectLegalHold GetObjectRetention GetObjectTagging GetObjectTorrent GetObjectVersion GetObjectVersionAcl
GetObjectVersionAttributes GetObjectVersionForReplication GetObjectVersionTagging GetObjectVersionTorrent
InitiateReplication ListMultipartUploadParts ListObjectAnnotations ObjectOwnerOverrideToBucketOwner PutObject
PutObjectAcl PutObjectAnnotation PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl
PutObjectVersionTagging ReplicateDelete ReplicateObject ReplicateTags RestoreObject UpdateObjectEncryption`))

	bucketActions = strings.Fields(strings.ToLower(`
CreateBucket CreateBucketMetadataTableConfiguration DeleteBucket DeleteBucketMetadataTableConfiguration
DeleteBucketPolicy DeleteBucketWebsite GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl
GetBucketCORS GetBucketLocation GetBucketLogging GetBucketMetadataTableConfiguration GetBucketNotification
GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus
GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging GetBucketVersioning GetBucketWebsite
GetEncryptionConfiguration GetIntelligentTieringConfiguration GetInventoryConfiguration GetLifecycleConfiguration
GetMetricsConfiguration GetReplicationConfiguration ListBucket ListBucketMultipartUploads ListBucketVersions
ListTagsForResource PutAccelerateConfiguration PutAnalyticsConfiguration PutBucketAbac PutBucketAcl PutBucketCORS
PutBucketLogging PutBucketNotification PutBucketObjectLockConfiguration PutBucketOwnershipControls PutBucketPolicy
PutBucketPublicAccessBlock PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite
PutEncryptionConfiguration PutIntelligentTieringConfiguration PutInventoryConfiguration PutLifecycleConfiguration
PutMetricsConfiguration PutReplicationConfiguration TagResource UntagResource
UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataInventoryTableConfiguration
UpdateBucketMetadataJournalTableConfiguration`))
)

// fitBucket refuses a statement of a bucket's policy with an action that there is not, or that is on none of the
// statement's resources: on objects where it names the bucket, or the other way round.
func fitBucket(s *statement) error {
	for i := range s.actions {
		onObjects, onBuckets := matchesOne(&s.actions[i], objectActions), matchesOne(&s.actions[i], bucketActions)
		if !onObjects && !onBuckets {
			return &MalformedError{"Policy has invalid action", s.actions[i].head}
		}
		if s.notAction || s.notResource {
			continue
		}
		fits := false
		for j := range s.resources {
			objects, buckets := s.resources[j].reach()
			fits = fits || onObjects && objects || onBuckets && buckets
		}
		if !fits {
			return &MalformedError{"Action does not apply to any resource(s) in statement", s.actions[i].head}
		}
	}
	return nil
}

func matchesOne(g *glob, actions []string) bool {
	for _, name := range actions {
		if g.match("s3:" + name) {
			return true
		}
	}
	return false
}

// reach tells whether a resource of S3 can be objects, and whether it can be buckets.
func (r *resource) reach() (objects, buckets bool) {
	_, _, slash := strings.Cut(r.text, "/")
	wild := strings.ContainsAny(r.text, "*?$")
	return slash || wild, !slash
}

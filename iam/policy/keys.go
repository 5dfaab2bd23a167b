package policy

import (
	"slices"
	"strings"
)

// key is a condition key as a condition or a variable names it.
type key struct {
	text   string // as the document has it
	name   string // in lower case
	slot   uint8  // place of a known key in the table, from 1; 0: named by form only
	source source
	global string // of the tags of a service's resources: the same tag's name as a global key
}

// source says where the values of a condition key come from. What the request's Context has comes before all.
type source uint8

const (
	fromContext source = iota // from Context only: the service tells by the operation's input
	never                     // nowhere: of something that Hive does not have, as on AWS for those who do not use it
	fromNow
	fromEpoch
	fromSecure
	fromSourceIP
	fromUserAgent
	fromUserName
	fromUserID
	fromPrincipalARN
	fromAccount
	fromPrincipalType
	fromRegion
	fromResourceAccount
	fromService
	fromIsService
	fromFalse
	fromMFA
	fromMFAAge
	fromIssued
	fromSourceIdentity
	fromProvider
	fromInstance
	fromReferer
	fromTLS
	fromSigningPlace
	fromSigningVersion
	fromSigningAge
	fromPayload
	fromClaims
)

// computed are the keys whose values follow from the caller and the clock, in lower case. Source: "AWS global
// condition context keys".
var computed = map[string]source{
	"aws:currenttime":               fromNow,
	"aws:epochtime":                 fromEpoch,
	"aws:securetransport":           fromSecure,
	"aws:sourceip":                  fromSourceIP,
	"aws:useragent":                 fromUserAgent,
	"aws:username":                  fromUserName,
	"aws:userid":                    fromUserID,
	"aws:principalarn":              fromPrincipalARN,
	"aws:principalaccount":          fromAccount,
	"aws:principaltype":             fromPrincipalType,
	"aws:requestedregion":           fromRegion,
	"aws:resourceaccount":           fromResourceAccount,
	"aws:principalservicename":      fromService,
	"aws:principalservicenameslist": fromService,
	"aws:principalisawsservice":     fromIsService,
	"aws:viaawsservice":             fromFalse, // no service calls another on a caller's behalf
	"aws:multifactorauthpresent":    fromMFA,
	"aws:multifactorauthage":        fromMFAAge,
	"aws:tokenissuetime":            fromIssued,
	"aws:sourceidentity":            fromSourceIdentity,
	"aws:federatedprovider":         fromProvider,
	"ec2:region":                    fromRegion,
	"ec2:sourceinstancearn":         fromInstance,
	"aws:referer":                   fromReferer,
	"s3:resourceaccount":            fromResourceAccount,
	"s3:tlsversion":                 fromTLS,
	"s3:authtype":                   fromSigningPlace,
	"s3:signatureversion":           fromSigningVersion,
	"s3:signatureage":               fromSigningAge,
	"s3:x-amz-content-sha256":       fromPayload,
}

// contextKeys are those that the authorizer or the service gives, because they are about the request's input or the
// resource's state. Source: "Actions, resources, and condition keys" of each service.
var contextKeys = strings.Fields(`
aws:TagKeys

iam:AssociatedResourceArn iam:AWSServiceName iam:DelegationDuration iam:DelegationRequestOwner
iam:NotificationChannel iam:OrganizationsPolicyId iam:PassedToService iam:PermissionsBoundary iam:PolicyARN
iam:ServiceSpecificCredentialAgeDays iam:ServiceSpecificCredentialServiceName iam:TemplateArn

sts:DurationSeconds sts:ExternalId sts:IdentityTokenAudience sts:RoleSessionName sts:SigningAlgorithm
sts:SourceIdentity sts:TaskPolicyArn sts:TransitiveTagKeys

s3:prefix s3:delimiter s3:max-keys s3:VersionId s3:LocationConstraint s3:if-match s3:if-none-match
s3:ObjectCreationOperation s3:RequestObjectTagKeys s3:InventoryAccessibleOptionalFields s3:object-lock-legal-hold
s3:object-lock-mode s3:object-lock-retain-until-date s3:x-amz-acl s3:x-amz-bucket-namespace s3:x-amz-copy-source
s3:x-amz-grant-full-control s3:x-amz-grant-read s3:x-amz-grant-read-acp s3:x-amz-grant-write s3:x-amz-grant-write-acp
s3:x-amz-metadata-directive s3:x-amz-object-ownership s3:x-amz-server-side-encryption
s3:x-amz-server-side-encryption-aws-kms-key-id s3:x-amz-server-side-encryption-customer-algorithm
s3:x-amz-storage-class s3:x-amz-website-redirect-location

ec2:Add/group ec2:Add/userId ec2:Remove/group ec2:AssociatePublicIpAddress ec2:Attribute ec2:AuthorizedService
ec2:AuthorizedUser ec2:AvailabilityZone ec2:CreateAction ec2:Domain ec2:EbsOptimized ec2:Encrypted ec2:ImageID
ec2:ImageType ec2:InstanceID ec2:InstanceMarketType ec2:InstanceMetadataTags ec2:InstanceProfile ec2:InstanceType
ec2:KeyPairName ec2:KeyPairType ec2:MetadataHttpEndpoint ec2:MetadataHttpPutResponseHopLimit ec2:MetadataHttpTokens
ec2:NetworkInterfaceID ec2:Owner ec2:ParentSnapshot ec2:ParentVolume ec2:Permission ec2:PlacementGroupStrategy
ec2:Public ec2:RootDeviceType ec2:SecurityGroupID ec2:SnapshotID ec2:SnapshotTime ec2:Subnet ec2:SubnetID ec2:Tenancy
ec2:VolumeID ec2:VolumeIops ec2:VolumeSize ec2:VolumeThroughput ec2:VolumeType ec2:Vpc ec2:VpcID

ebs:Description ebs:ParentSnapshot ebs:VolumeSize`)

// absentKeys are of what Hive does not have: organizations, VPC endpoints, services that call on behalf of a resource,
// access points, batch jobs, security keys, KMS, VPC peering, launch templates, SAML. No request on AWS that does without
// these has them either.
var absentKeys = strings.Fields(`
aws:CalledVia aws:CalledViaFirst aws:CalledViaLast aws:ChatbotSourceArn aws:AssumedRoot
aws:PrincipalOrgID aws:PrincipalOrgPaths aws:ResourceOrgID aws:ResourceOrgPaths aws:SourceOrgID aws:SourceOrgPaths
aws:SourceArn aws:SourceAccount aws:SourceVpc aws:SourceVpcArn aws:SourceVpce aws:VpcSourceIp
aws:VpceAccount aws:VpceOrgID aws:VpceOrgPaths

iam:FIDO-certification iam:FIDO-FIPS-140-2-certification
iam:FIDO-FIPS-140-3-certification iam:RegisterSecurityKey

sts:AWSServiceName sts:RequestContextProviders

s3:AccessGrantsInstanceArn s3:AccessPointNetworkOrigin s3:DataAccessPointAccount s3:DataAccessPointArn
s3:ExistingJobOperation s3:ExistingJobPriority s3:RequestJobOperation s3:RequestJobPriority s3:JobSuspendedCause
s3:isReplicationPauseRequest s3:destinationRegion

ec2:OutpostArn ec2:SourceOutpostArn ec2:ElasticGpuType ec2:HostRecovery ec2:AutoPlacement
ec2:CapacityReservationFleet ec2:ReservedInstancesOfferingType ec2:VpceServiceName ec2:VpceServiceOwner
ec2:VpceServicePrivateDnsName ec2:AccepterVpc ec2:RequesterVpc ec2:VpcPeeringConnectionID ec2:KmsKeyId
ec2:LaunchTemplate ec2:PlacementGroup ec2:PlacementGroupName ec2:ProductCode ec2:Ipv4IpamPoolId ec2:Ipv6IpamPoolId
ec2:ManagedResourceOperator

saml:aud saml:iss saml:sub saml:sub_type saml:namequalifier saml:doc saml:cn saml:edupersonaffiliation
saml:edupersonassurance saml:edupersonentitlement saml:edupersonnickname saml:edupersonorgdn
saml:edupersonorgunitdn saml:edupersonprimaryaffiliation saml:edupersonprimaryorgunitdn
saml:edupersonprincipalname saml:edupersonscopedaffiliation saml:edupersontargetedid saml:mail saml:surname
saml:uid saml:x500uniqueidentifier`)

// tagKeys are what the keys of tags begin with, in lower case; the tag's own key follows.
var tagKeys = []string{
	"aws:principaltag/", "aws:requesttag/", "aws:resourcetag/", "ec2:resourcetag/", "iam:resourcetag/", "ec2:attribute/",
	"s3:existingobjecttag/", "s3:requestobjecttag/", "s3:buckettag/", "sts:requestcontext/",
}

// ownVendors are the prefixes of the services that Hive has: of these every key is known, or refused.
var ownVendors = []string{"aws", "iam", "sts", "s3", "ec2", "ebs", "tag", "cloudtrail", "saml"}

// maxKeys is more than the known keys, whose places must fit a byte.
const maxKeys = 255

// known are all keys that have a place, by name in lower case.
var known = makeKnown()

func makeKnown() map[string]key {
	out := map[string]key{}
	add := func(name string, from source) {
		k := key{name: strings.ToLower(name), slot: uint8(len(out) + 1), source: from}
		out[k.name] = k
	}
	for name, from := range computed {
		add(name, from)
	}
	for _, name := range contextKeys {
		add(name, fromContext)
	}
	for _, name := range absentKeys {
		add(name, never)
	}
	return out
}

// newKey is the key of a name, in whatever case. A key of a service that Hive does not have is taken as it is: no
// request has it, as on AWS no request to these services has. One with a dot is an identity provider's.
func newKey(text string) (key, bool) {
	name := strings.ToLower(text)
	if k, ok := known[name]; ok {
		k.text = text
		return k, true
	}
	for _, prefix := range tagKeys {
		if tag, ok := strings.CutPrefix(name, prefix); ok {
			k := key{text: text, name: name}
			if prefix == "ec2:resourcetag/" || prefix == "iam:resourcetag/" {
				k.global = "aws:resourcetag/" + tag
			}
			return k, tag != ""
		}
	}
	colon := strings.LastIndexByte(name, ':')
	if colon <= 0 || colon == len(name)-1 || strings.ContainsAny(name, " ${}*?\"'\\") {
		return key{}, false
	}
	if strings.Contains(name[:colon], ".") {
		return key{text: text, name: name, source: fromClaims}, true
	}
	vendor, _, _ := strings.Cut(name, ":")
	return key{text: text, name: name}, foreignVendor(vendor)
}

// foreignVendor tells whether a prefix may be that of a service that Hive does not have.
func foreignVendor(vendor string) bool {
	return !slices.Contains(ownVendors, vendor) && vendor != "" &&
		!strings.ContainsFunc(vendor, func(r rune) bool { return !alphanumeric(r) && r != '-' })
}

// RequestKeys are the names of the keys that a service has to give in Request.Context for policies that name them to
// mean what they say, in lower case and sorted, without those of tags and identity providers.
func RequestKeys() []string {
	out := make([]string, len(contextKeys))
	for i, name := range contextKeys {
		out[i] = strings.ToLower(name)
	}
	slices.Sort(out)
	return out
}

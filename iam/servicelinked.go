package iam

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// linkedService is a service that has roles of its own in accounts. Source: "AWS services that work with IAM" and the
// services' guides.
type linkedService struct {
	name   string // "autoscaling.amazonaws.com"
	role   string // its role's name after "AWSServiceRoleFor"
	policy string // AWS's managed policy for it, below /aws-service-role/
	suffix bool   // there may be several roles, with suffixes
}

const (
	linkedPath   = "/aws-service-role/"
	linkedPrefix = "AWSServiceRoleFor"
	// linkedSession is how long sessions of such roles last, in seconds.
	linkedSession = 3600
	maxLinkedName = 64
)

// linkedServices are in order of name.
func linkedServices() []linkedService {
	return []linkedService{
		{"access-analyzer.amazonaws.com", "AccessAnalyzer", "AccessAnalyzerServiceRolePolicy", false},
		{"autoscaling-plans.amazonaws.com", "AutoScalingPlans_EC2AutoScaling", "AWSAutoScalingPlansEC2AutoScalingPolicy", false},
		{"autoscaling.amazonaws.com", "AutoScaling", "AutoScalingServiceRolePolicy", true},
		{"backup.amazonaws.com", "Backup", "AWSBackupServiceLinkedRolePolicyForBackup", false},
		{"batch.amazonaws.com", "Batch", "BatchServiceRolePolicy", false},
		{"cloudtrail.amazonaws.com", "CloudTrail", "CloudTrailServiceRolePolicy", false},
		{"config.amazonaws.com", "Config", "AWSConfigServiceRolePolicy", false},
		{"dynamodb.application-autoscaling.amazonaws.com", "ApplicationAutoScaling_DynamoDBTable", "AWSApplicationAutoscalingDynamoDBTablePolicy", false},
		{"ec2fleet.amazonaws.com", "EC2Fleet", "AWSEC2FleetServiceRolePolicy", false},
		{"ecs.amazonaws.com", "ECS", "AmazonECSServiceRolePolicy", false},
		{"ecs.application-autoscaling.amazonaws.com", "ApplicationAutoScaling_ECSService", "AWSApplicationAutoscalingECSServicePolicy", false},
		{"eks-fargate.amazonaws.com", "AmazonEKSForFargate", "AmazonEKSForFargateServiceRolePolicy", false},
		{"eks-nodegroup.amazonaws.com", "AmazonEKSNodegroup", "AWSServiceRoleForAmazonEKSNodegroup", false},
		{"eks.amazonaws.com", "AmazonEKS", "AmazonEKSServiceRolePolicy", false},
		{"elasticache.amazonaws.com", "ElastiCache", "ElastiCacheServiceRolePolicy", false},
		{"elasticbeanstalk.amazonaws.com", "ElasticBeanstalk", "AWSElasticBeanstalkServiceRolePolicy", false},
		{"elasticfilesystem.amazonaws.com", "AmazonElasticFileSystem", "AmazonElasticFileSystemServiceRolePolicy", false},
		{"elasticloadbalancing.amazonaws.com", "ElasticLoadBalancing", "AWSElasticLoadBalancingServiceRolePolicy", false},
		{"es.amazonaws.com", "AmazonElasticsearchService", "AmazonElasticsearchServiceRolePolicy", false},
		{"guardduty.amazonaws.com", "AmazonGuardDuty", "AmazonGuardDutyServiceRolePolicy", false},
		{"imagebuilder.amazonaws.com", "ImageBuilder", "AWSServiceRoleForImageBuilder", false},
		{"inspector2.amazonaws.com", "AmazonInspector2", "AmazonInspector2ServiceRolePolicy", false},
		{"lex.amazonaws.com", "LexBots", "AmazonLexBotPolicy", false},
		{"lexv2.amazonaws.com", "LexV2Bots", "AmazonLexV2BotPolicy", true},
		{"opensearchservice.amazonaws.com", "AmazonOpenSearchService", "AmazonOpenSearchServiceRolePolicy", false},
		{"ops.apigateway.amazonaws.com", "APIGateway", "APIGatewayServiceRolePolicy", false},
		{"organizations.amazonaws.com", "Organizations", "AWSOrganizationsServiceTrustPolicy", false},
		{"rds.amazonaws.com", "RDS", "AmazonRDSServiceRolePolicy", false},
		{"redshift.amazonaws.com", "Redshift", "AmazonRedshiftServiceLinkedRolePolicy", false},
		{"replication.dynamodb.amazonaws.com", "DynamoDBReplication", "DynamoDBReplicationServiceRolePolicy", false},
		{"securityhub.amazonaws.com", "SecurityHub", "AWSSecurityHubServiceRolePolicy", false},
		{"spot.amazonaws.com", "EC2Spot", "AWSEC2SpotServiceRolePolicy", false},
		{"spotfleet.amazonaws.com", "EC2SpotFleet", "AWSEC2SpotFleetServiceRolePolicy", false},
		{"ssm.amazonaws.com", "AmazonSSM", "AmazonSSMServiceRolePolicy", false},
		{"sso.amazonaws.com", "SSO", "AWSSSOServiceRolePolicy", false},
		{"support.amazonaws.com", "Support", "AWSSupportServiceRolePolicy", false},
		{"transitgateway.amazonaws.com", "VPCTransitGateway", "AWSVPCTransitGatewayServiceRolePolicy", false},
		{"trustedadvisor.amazonaws.com", "TrustedAdvisor", "AWSTrustedAdvisorServiceRolePolicy", false},
	}
}

// linkedRole is the role that a request asks for. Errors: InvalidInput, ValidationError.
func linkedRole(in *awsiam.CreateServiceLinkedRoleInput) (role fsm.Role, service linkedService, err error) {
	name, err := required(in.AWSServiceName, "aWSServiceName", 128)
	if err != nil {
		return role, service, err
	}
	services := linkedServices()
	i := slices.IndexFunc(services, func(l linkedService) bool { return l.name == name })
	if i < 0 {
		return role, service, invalidInput("Service name %s is not valid: no service of that name has service-linked roles.", name)
	}
	service = services[i]
	role = fsm.Role{
		Name: linkedPrefix + service.role, Path: linkedPath + name + "/", MaxSession: linkedSession, ServiceLinked: name,
		Trust: fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":%q},"Action":"sts:AssumeRole"}]}`, name),
	}
	if in.CustomSuffix != nil {
		suffix, err := requiredName(in.CustomSuffix, "customSuffix", 64)
		if err != nil {
			return role, service, err
		}
		if !service.suffix {
			return role, service, invalidInput("Custom suffix is not allowed for %s", name)
		}
		role.Name += "_" + suffix
	}
	if len(role.Name) > maxLinkedName {
		return role, service, invalidInput("Role name %s is longer than %d characters.", role.Name, maxLinkedName)
	}
	role.Description, err = validDescription(in.Description)
	return role, service, err
}

// CreateServiceLinkedRole makes the role by which a service acts in the account. Errors: InvalidInput, also for a name that
// is taken, LimitExceeded.
func (s *Service) CreateServiceLinkedRole(ctx context.Context, c *principal.Caller, in *awsiam.CreateServiceLinkedRoleInput) (*awsiam.CreateServiceLinkedRoleOutput, error) {
	role, service, err := linkedRole(in)
	if err != nil {
		return nil, err
	}
	id, err := s.newID(fsm.RoleEntity.Prefix(), entityIDLength)
	if err != nil {
		return nil, err
	}
	role.Account, role.ID, role.Created = fsm.AccountID(c.Account), fsm.EntityID(id), s.cfg.Clock().Unix()
	attach := managedPrefix + strings.TrimPrefix(linkedPath, "/") + service.policy
	if !isManaged(attach) {
		attach = ""
	}
	err = s.decide(ctx, c, role.Name, func(v *fsm.View) (fsm.Command, error) {
		if _, taken := fsm.RoleByName(v, role.Account, role.Name); taken {
			return nil, invalidInput("Service role name %s has been taken in this account, please try a different suffix.", role.Name)
		}
		return &fsm.CreateRole{Role: role, Attach: attach}, nil
	})
	if err != nil {
		return nil, err
	}
	out := roleOut(role, role.Trust)
	out.Description = optional(role.Description)
	return &awsiam.CreateServiceLinkedRoleOutput{Role: &out}, nil
}

func isManaged(arn string) bool {
	_, ok := managedPolicy(arn)
	return ok
}

// DeleteServiceLinkedRole removes a service-linked role and answers the id of a task, which has succeeded by then: no
// service of Hive holds on to one. Errors: NoSuchEntity.
func (s *Service) DeleteServiceLinkedRole(ctx context.Context, c *principal.Caller, in *awsiam.DeleteServiceLinkedRoleInput) (*awsiam.DeleteServiceLinkedRoleOutput, error) {
	var role fsm.Role
	var attached []fsm.PolicyAttachment
	err := s.read(ctx, func(v *fsm.View) (err error) {
		if role, err = roleIn(v, c, in.RoleName); err != nil {
			return err
		}
		if role.ServiceLinked == "" {
			return fsm.Errorf(fsm.ErrNotFound, "role/"+role.Name)
		}
		attached = fsm.AttachedPoliciesOf(v, role.Account, role.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	task, err := s.newUUID()
	if err != nil {
		return nil, err
	}
	task = "task" + linkedPath + role.ServiceLinked + "/" + role.Name + "/" + task
	var steps []fsm.Command
	for _, a := range attached {
		steps = append(steps, &fsm.DetachPolicy{Account: role.Account, Owner: role.ID, ARN: a.ARN})
	}
	steps = append(steps, &fsm.DeleteRole{Account: role.Account, ID: role.ID},
		&fsm.PutJob{Job: fsm.Job{Account: role.Account, Type: fsm.RoleDeletion, ID: task, Created: s.cfg.Clock().Unix()}})
	for _, step := range steps {
		if err := s.propose(ctx, c, step, role.Name); err != nil {
			return nil, err
		}
	}
	return &awsiam.DeleteServiceLinkedRoleOutput{DeletionTaskId: aws.String(task)}, nil
}

// newUUID draws a UUID of version 4 (RFC 9562).
func (s *Service) newUUID() (string, error) {
	var b [16]byte
	s.mu.Lock()
	_, err := io.ReadFull(s.cfg.Rand, b[:])
	s.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("draw a UUID: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// GetServiceLinkedRoleDeletionStatus tells what became of a deletion. Errors: NoSuchEntity.
func (s *Service) GetServiceLinkedRoleDeletionStatus(ctx context.Context, c *principal.Caller, in *awsiam.GetServiceLinkedRoleDeletionStatusInput) (*awsiam.GetServiceLinkedRoleDeletionStatusOutput, error) {
	task, err := required(in.DeletionTaskId, "deletionTaskId", 1000)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		if _, ok := fsm.JobOf(v, fsm.AccountID(c.Account), fsm.RoleDeletion, task); !ok {
			return fsm.Errorf(fsm.ErrNotFound, "deletion-task/"+task)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetServiceLinkedRoleDeletionStatusOutput{Status: types.DeletionTaskStatusTypeSucceeded}, nil
}

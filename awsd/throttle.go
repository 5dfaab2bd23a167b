package awsd

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"hive/awsd/protocol"
)

// throttle is token buckets per account and action, as EC2's: "Request throttling for the Amazon EC2 API". What an action
// may is asked anew for each request, so that a changed setting counts at once.
type throttle struct {
	limits func(service, op string) (perSecond float64, burst int)
	clock  func() time.Time

	mu      sync.Mutex // guards what is below
	buckets map[bucketKey]*rate.Limiter
	sweepAt int // how many buckets there are when full ones are dropped
}

type bucketKey struct{ account, service, op string }

// fewBuckets is how many there can be before full ones are looked for.
const fewBuckets = 1024

// newThrottle is nil, which lets everything pass, without limits.
func newThrottle(limits func(service, op string) (float64, int), clock func() time.Time) *throttle {
	if limits == nil {
		return nil
	}
	return &throttle{limits: limits, clock: clock, buckets: map[bucketKey]*rate.Limiter{}, sweepAt: fewBuckets}
}

// allow takes a token for a request, or answers the service's refusal when there is none.
func (t *throttle) allow(api *protocol.API, account, op string) error {
	if t == nil {
		return nil
	}
	perSecond, burst := t.limits(api.Service, op)
	if perSecond <= 0 {
		return nil
	}
	if !t.take(bucketKey{account, api.Service, op}, rate.Limit(perSecond), max(burst, 1)) {
		return throttled(api)
	}
	return nil
}

func (t *throttle) take(key bucketKey, limit rate.Limit, burst int) bool {
	now := t.clock()
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buckets[key]
	switch {
	case b == nil:
		t.sweepLocked(now)
		b = rate.NewLimiter(limit, burst)
		t.buckets[key] = b
	case b.Limit() != limit || b.Burst() != burst:
		b.SetLimitAt(now, limit)
		b.SetBurstAt(now, burst)
	}
	return b.AllowN(now, 1)
}

// sweepLocked drops the buckets that are full again, which are as good as new ones.
func (t *throttle) sweepLocked(now time.Time) {
	if len(t.buckets) < t.sweepAt {
		return
	}
	for key, b := range t.buckets {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(t.buckets, key)
		}
	}
	t.sweepAt = max(fewBuckets, 2*len(t.buckets))
}

// throttled is how each service refuses what comes too fast. Sources: "Error codes for the Amazon EC2 API", "Error
// responses" of S3, "Common errors" of IAM and CloudTrail, the models of the EBS direct APIs and of the Tagging API.
func throttled(api *protocol.API) *protocol.Error {
	switch api.Service {
	case "ec2":
		return protocol.Errorf(http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded.")
	case "s3":
		return protocol.Errorf(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	case "ebs":
		e := protocol.Errorf(http.StatusBadRequest, "RequestThrottledException", "The number of API requests has exceeded the maximum allowed.")
		e.Fields = []protocol.Field{{Name: "Reason", Value: "ACCOUNT_THROTTLED"}}
		return e
	case "cloudtrail":
		return protocol.Errorf(http.StatusBadRequest, "ThrottlingException", "Rate exceeded")
	case "tagging":
		return protocol.Errorf(http.StatusBadRequest, "ThrottledException", "Rate exceeded")
	}
	return protocol.Errorf(http.StatusBadRequest, "Throttling", "Rate exceeded")
}

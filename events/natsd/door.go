package natsd

import (
	"context"
	"errors"

	"github.com/nats-io/nats-server/v2/server"
)

// clientDoor lets clients in, each into its tenant's account.
type clientDoor Server

// Check is asked by the server for every client that connects.
func (d *clientDoor) Check(c server.ClientAuthentication) bool {
	s := (*Server)(d)
	s.mu.Lock()
	live := s.begun
	s.mu.Unlock()
	opts := c.GetOpts()
	if s.own(opts.Username, opts.Password) {
		acc, err := live.LookupAccount(bridgeAccount)
		if err != nil {
			return false
		}
		c.RegisterUser(&server.User{Username: bridgeUser, Account: acc})
		return true
	}
	if c.GetTLSConnectionState() == nil {
		return false
	}
	grant, ok := s.cfg.Tenants.Grant(opts.Username, opts.Password)
	if !ok {
		return false
	}
	acc, err := tenantAccount(live, grant)
	if err != nil {
		s.cfg.Log.Error("NATS account", "account", grant.Account, "err", err)
		return false
	}
	if !s.admit(live, c.GetID(), grant) {
		s.cfg.Log.Warn("too many NATS clients of one account", "account", grant.Account, "most", MaxClientsPerTenant)
		return false
	}
	c.RegisterUser(&server.User{Username: grant.Account, Account: acc, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: []string{">"}},
		Subscribe: &server.SubjectPermission{Allow: []string{grant.Prefix + ".>"}},
	}})
	return true
}

// tenantAccount is the NATS account of a tenant: nothing but its own part of what this process publishes comes into it.
func tenantAccount(live *server.Server, g Grant) (*server.Account, error) {
	source, err := live.LookupAccount(bridgeAccount)
	if err != nil {
		return nil, err
	}
	acc, _ := live.LookupOrRegisterAccount(g.Account)
	if err := acc.AddStreamImport(source, g.Prefix+".>", ""); err != nil && !errors.Is(err, server.ErrStreamImportDuplicate) {
		return nil, err
	}
	return acc, nil
}

// admit counts a connection of a tenant.
func (s *Server) admit(live *server.Server, id uint64, g Grant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, have := range s.conns {
		if have.Account == g.Account {
			count++
		}
	}
	if count >= MaxClientsPerTenant {
		s.sweepLocked(live)
		count = 0
		for _, have := range s.conns {
			if have.Account == g.Account {
				count++
			}
		}
	}
	if count >= MaxClientsPerTenant {
		return false
	}
	if len(s.conns) >= 2*MaxClients {
		s.sweepLocked(live)
	}
	s.conns[id] = g
	return true
}

// sweepLocked forgets connections that are closed. The caller holds mu.
func (s *Server) sweepLocked(live *server.Server) {
	for id := range s.conns {
		if live.GetClient(id) == nil {
			delete(s.conns, id)
		}
	}
}

// Recheck ends the connections whose grant does not hold any more.
func (s *Server) Recheck(ctx context.Context) {
	s.mu.Lock()
	live := s.live
	if live == nil {
		s.mu.Unlock()
		return
	}
	s.sweepLocked(live)
	open := make(map[uint64]Grant, len(s.conns))
	for id, g := range s.conns {
		open[id] = g
	}
	s.mu.Unlock()
	holds := map[Grant]bool{}
	for id, g := range open {
		if ctx.Err() != nil {
			return
		}
		ok, asked := holds[g]
		if !asked {
			ok = s.cfg.Tenants.Holds(g)
			holds[g] = ok
		}
		if ok {
			continue
		}
		if err := live.DisconnectClientByID(id); err == nil {
			s.cfg.Log.Info("NATS client ended: its account is suspended, gone, or has new credentials", "account", g.Account)
		}
	}
}

// routeDoor lets other servers in: TLS has verified their certificate, this asks whose it is.
type routeDoor Server

// Check is asked by the server for every route that connects.
func (d *routeDoor) Check(c server.ClientAuthentication) bool {
	state := c.GetTLSConnectionState()
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	return d.cfg.Member(state.PeerCertificates[0].Subject.CommonName)
}

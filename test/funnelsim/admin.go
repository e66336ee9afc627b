package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tailscale.com/tailcfg"
)

// admin answers tests. Everything is JSON; what changes something is a POST with its values in the query.
func (s *sim) admin() http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, of func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			value, err := of(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			json.NewEncoder(w).Encode(value)
		})
	}
	done := map[string]bool{"ok": true}

	// The gateway's name, its certificate for the state folder, and who the member is.
	answer("GET /", func(r *http.Request) (any, error) {
		client, err := s.member.LocalClient()
		if err != nil {
			return nil, err
		}
		status, err := client.StatusWithoutPeers(r.Context())
		if err != nil {
			return nil, err
		}
		return map[string]any{
			"name":        s.name(),
			"certificate": s.certificate,
			"member": map[string]any{
				"login":   status.User[status.Self.UserID].LoginName,
				"address": status.TailscaleIPs[0],
			},
		}, nil
	})
	// How often the gateway has joined, and the address that it has there.
	answer("GET /gateway", func(*http.Request) (any, error) {
		nodes := 0
		for _, node := range s.control.AllNodes() {
			if node.Hostinfo.Valid() && node.Hostinfo.Hostname() == s.gateway {
				nodes++
			}
		}
		node, err := s.node()
		if err != nil {
			return map[string]any{"nodes": 0}, nil
		}
		return map[string]any{"nodes": nodes, "address": node.Addresses[0].Addr(), "key": node.Key.String()}, nil
	})
	// What the gateway answers to a relay that brings a connection to ?port=.
	answer("POST /ingress", func(r *http.Request) (any, error) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		conn, status, err := s.ingress(ctx, net.JoinHostPort(s.name(), r.URL.Query().Get("port")))
		if err != nil {
			return map[string]any{"status": 0, "error": err.Error()}, nil
		}
		if conn != nil {
			conn.Close()
		}
		return map[string]any{"status": status}, nil
	})
	// Whether a member reaches the gateway's address at ?port=.
	answer("POST /reach", func(r *http.Request) (any, error) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		node, err := s.node()
		if err != nil {
			return nil, err
		}
		conn, err := s.member.Dial(ctx, "tcp", net.JoinHostPort(node.Addresses[0].Addr().String(), r.URL.Query().Get("port")))
		if err == nil {
			conn.Close()
		}
		return map[string]bool{"open": err == nil}, nil
	})
	// The address of the public client from now on: ?address=ip:port.
	answer("POST /source", func(r *http.Request) (any, error) {
		s.source.Store(r.URL.Query().Get("address"))
		return done, nil
	})
	// The auth key that control takes from now on; empty: it asks for none.
	answer("POST /auth-key", func(r *http.Request) (any, error) {
		s.control.RequireAuthKey = r.URL.Query().Get("key")
		return done, nil
	})
	// What the tailnet grants the gateway from now on: ?caps=a,b,c with %2C inside one; ?caps=usual for all.
	answer("POST /caps", func(r *http.Request) (any, error) {
		node, err := s.node()
		if err != nil {
			return nil, err
		}
		caps := tailcfg.NodeCapMap{}
		for name := range strings.SplitSeq(r.URL.Query().Get("caps"), " ") {
			if name == "usual" {
				caps = grants
			} else if name != "" {
				caps[tailcfg.NodeCapability(name)] = nil
			}
		}
		// What control gives every node that joins is on the node itself.
		node.Capabilities = nil
		s.control.UpdateNode(node)
		s.control.SetNodeCapMap(node.Key, caps)
		return done, nil
	})
	// The roles at the door that the tailnet's policy grants every node from now on: ?roles=viewer editor; none: no grant.
	answer("POST /grant", func(r *http.Request) (any, error) {
		var values []tailcfg.RawMessage
		for _, role := range strings.Fields(r.URL.Query().Get("roles")) {
			value, err := json.Marshal(map[string]string{"role": role})
			if err != nil {
				return nil, err
			}
			values = append(values, tailcfg.RawMessage(value))
		}
		var granted tailcfg.PeerCapMap
		if values != nil {
			granted = tailcfg.PeerCapMap{roleCapability: values}
		}
		s.control.SetGlobalAppCaps(granted)
		return done, nil
	})
	// Whether the tailnet has HTTPS switched on; nodes hear of it with their next map: ?on=true.
	answer("POST /https", func(r *http.Request) (any, error) {
		on, err := strconv.ParseBool(r.URL.Query().Get("on"))
		if err != nil {
			return nil, err
		}
		s.control.DNSConfig = nil
		if on {
			s.control.DNSConfig = &tailcfg.DNSConfig{Proxied: true}
		}
		if node, err := s.node(); err == nil {
			s.control.SetNodeCapMap(node.Key, grants)
		}
		return done, nil
	})
	// Cuts the next connection that brings so many bytes: ?after=1000.
	answer("POST /cut", func(r *http.Request) (any, error) {
		after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
		if err != nil {
			return nil, err
		}
		s.cutAfter.Store(after)
		return done, nil
	})
	return mux
}

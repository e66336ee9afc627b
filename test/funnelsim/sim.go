package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

type sim struct {
	control *testcontrol.Server
	// A member of the tailnet, and one of Funnel's relays.
	member, relay *tsnet.Server
	gateway       string
	certificate   certificate
	// The public client's address that the relay tells, "ip:port".
	source atomic.Value
	// The first connection that brings so many bytes is cut; 0: none is.
	cutAfter atomic.Int64
}

// client is a connection that arrived, which is cut in the middle if a test wants that.
type client struct {
	net.Conn
	cutAfter *atomic.Int64
	brought  int64
}

func (c *client) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.brought += int64(n)
	if limit := c.cutAfter.Load(); limit > 0 && c.brought >= limit && c.cutAfter.CompareAndSwap(limit, 0) {
		return 0, net.ErrClosed
	}
	return n, err
}

// node is the gateway as control knows it: the youngest of that name.
func (s *sim) node() (*tailcfg.Node, error) {
	var found *tailcfg.Node
	for _, node := range s.control.AllNodes() {
		if node.Hostinfo.Valid() && node.Hostinfo.Hostname() == s.gateway && (found == nil || node.ID > found.ID) {
			found = node
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no node %s has joined", s.gateway)
	}
	return found, nil
}

func (s *sim) name() string { return s.gateway + "." + domain }

// openIngress does what a relay of Funnel does with a public connection.
func (s *sim) openIngress(ctx context.Context) (net.Conn, error) {
	conn, status, err := s.ingress(ctx, net.JoinHostPort(s.name(), gatewayPort))
	if err == nil && conn == nil {
		err = fmt.Errorf("ingress was answered with %d", status)
	}
	return conn, err
}

// ingress asks the gateway to take a public connection to target. A nil connection is a refusal with that status.
func (s *sim) ingress(ctx context.Context, target string) (net.Conn, int, error) {
	node, err := s.node()
	if err != nil {
		return nil, 0, err
	}
	var port uint16
	for _, service := range node.Hostinfo.Services().All() {
		if service.Proto == tailcfg.PeerAPI6 {
			port = service.Port
		}
	}
	if port == 0 {
		return nil, 0, fmt.Errorf("%s has no peer API yet", s.gateway)
	}
	// Relays dial the node's IPv6 address in the tailnet; [0] is the IPv4 one.
	host := net.JoinHostPort(node.Addresses[1].Addr().String(), strconv.Itoa(int(port)))
	conn, err := s.relay.Dial(ctx, "tcp", host)
	if err != nil {
		return nil, 0, err
	}
	request, err := http.NewRequest("POST", "/v0/ingress", nil)
	if err != nil {
		return nil, 0, err
	}
	request.Host = host
	request.Header.Set("Tailscale-Ingress-Src", s.source.Load().(string))
	request.Header.Set("Tailscale-Ingress-Target", target)
	if err := request.Write(conn); err != nil {
		conn.Close()
		return nil, 0, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		conn.Close()
		return nil, 0, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
		return nil, response.StatusCode, nil
	}
	// The reader may hold the first bytes of the stream already.
	return &buffered{conn, reader}, response.StatusCode, nil
}

type buffered struct {
	net.Conn
	reader *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.reader.Read(p) }

func (s *sim) dialAsMember(ctx context.Context) (net.Conn, error) {
	node, err := s.node()
	if err != nil {
		return nil, err
	}
	return s.member.Dial(ctx, "tcp", net.JoinHostPort(node.Addresses[0].Addr().String(), gatewayPort))
}

func keyOf(ctx context.Context, node *tsnet.Server) key.NodePublic {
	client, err := node.LocalClient()
	if err != nil {
		panic(err)
	}
	status, err := client.StatusWithoutPeers(ctx)
	if err != nil {
		panic(err)
	}
	return status.Self.PublicKey
}

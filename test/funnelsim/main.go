// funnelsim stands in for what of Tailscale cannot be had in a test: the control server, a DERP relay with STUN, the
// public relays of Funnel, and another member of the tailnet. Control and relay are upstream's own test servers; the
// two nodes are real ones. What the product runs (tailscaled, containerboot, the serve config) is none of this.
//
//	:9911  control server
//	:9912  what a test asks and changes (admin.go)
//	:8443  a public relay: a connection that arrives here reaches the gateway as one from Funnel
//	:8444  the tailnet: a connection that arrives here is made anew by the member's own node
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tailscale.com/ipn/store/mem"
	"tailscale.com/net/netns"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
	"tailscale.com/tstest/integration"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/logger"
)

const (
	domain = "tail-scale.ts.net"
	// The port that the gateway answers on.
	gatewayPort = "8443"
	// By which the tailnet's policy grants a role.
	roleCapability = "mlgate.internal/cap/mlgate"
)

// grants is what a tailnet gives a node that may use Funnel; control sends it to every node.
var grants = tailcfg.NodeCapMap{
	"https":  nil,
	"funnel": nil,
	"https://tailscale.com/cap/funnel-ports?ports=443,8443,10000": nil,
}

func main() {
	address := flag.String("address", "", "own IP address, as the gateway sees it")
	gateway := flag.String("gateway", "gateway", "host name of the gateway's node")
	authKey := flag.String("auth-key", "", "the only auth key that control takes")
	flag.Parse()
	if net.ParseIP(*address) == nil {
		log.Fatal("-address must be an IP address")
	}
	// Sockets of this process need no way round a tunnel.
	netns.SetEnabled(false)

	control := &testcontrol.Server{
		Logf:                    logger.Discard,
		DERPMap:                 integration.RunDERPAndSTUN(standIn{}, logger.Discard, *address),
		ExplicitBaseURL:         "http://" + net.JoinHostPort(*address, "9911"),
		MagicDNSDomain:          domain,
		DNSConfig:               &tailcfg.DNSConfig{Proxied: true},
		DefaultNodeCapabilities: &grants,
		AllOnline:               true,
	}
	go func() { log.Fatal(http.ListenAndServe(":9911", control)) }()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	member := join(ctx, control, "member")
	relay := join(ctx, control, "relay")
	control.SetUnsignedPeerAPIOnly(keyOf(ctx, relay), true)
	// From here on whoever joins needs the key.
	control.RequireAuthKey = *authKey

	sim := &sim{control: control, member: member, relay: relay, gateway: *gateway}
	sim.source.Store("203.0.113.7:50123")
	sim.certificate = newCertificate(*gateway + "." + domain)
	go sim.listen(":8443", sim.openIngress)
	go sim.listen(":8444", sim.dialAsMember)
	log.Print("ready")
	log.Fatal(http.ListenAndServe(":9912", sim.admin()))
}

// join brings up a node of this process.
func join(ctx context.Context, control *testcontrol.Server, name string) *tsnet.Server {
	dir := filepath.Join(os.TempDir(), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		log.Fatal(err)
	}
	node := &tsnet.Server{
		Dir:        dir,
		Store:      new(mem.Store),
		Hostname:   name,
		ControlURL: control.ExplicitBaseURL,
		Ephemeral:  true,
		Logf:       logger.Discard,
	}
	if _, err := node.Up(ctx); err != nil {
		log.Fatalf("%s did not come up: %v", name, err)
	}
	return node
}

// listen takes connections and joins each to one that open makes.
func (s *sim) listen(address string, open func(context.Context) (net.Conn, error)) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	for {
		accepted, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		conn := &client{Conn: accepted, cutAfter: &s.cutAfter}
		go func() {
			defer conn.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			server, err := open(ctx)
			cancel()
			if err != nil {
				// As the relays do: nobody is told why, the connection just ends.
				log.Printf("%s: %v", address, err)
				return
			}
			defer server.Close()
			splice(conn, server)
		}()
	}
}

// splice copies both ways until one way has ended.
func splice(a, b net.Conn) {
	done := make(chan struct{}, 2)
	copy := func(to, from net.Conn) {
		io.Copy(to, from)
		done <- struct{}{}
	}
	go copy(a, b)
	go copy(b, a)
	<-done
}

// An agent that decides by client address, asked by the messages that CrowdSec's bouncer documents and answering with its variables.
//
// The bouncer gets its decisions from CrowdSec; here a file has them, which is read anew for each message, a line each: an address
// and "ban" or "captcha". Who is not in it is allowed.
package main

import (
	"bufio"
	"context"
	"flag"
	"log"
	"net/netip"
	"os"
	"strings"

	"github.com/dropmorepackets/haproxy-go/pkg/encoding"
	"github.com/dropmorepackets/haproxy-go/spop"

	"agents/cli"
)

const (
	allow   = "allow"
	ban     = "ban"
	captcha = "captcha"
)

// The arguments of each message, in the order in which the bouncer's spoe.conf has them.
var arguments = map[string]string{
	"crowdsec-tcp":          "id src-ip src-port",
	"crowdsec-http-body":    "remediation id method path query version headers body url ssl src-ip src-port",
	"crowdsec-http-no-body": "remediation id method path query version headers url ssl src-ip src-port",
}

var decisions = flag.String("decisions", "", "`FILE` with an address and ban or captcha in each line; none: everybody is allowed")

func main() {
	listener := cli.Start("github.com/dropmorepackets/haproxy-go")
	agent := spop.Agent{Handler: spop.HandlerFunc(answer)}
	log.Fatal(agent.Serve(listener))
}

// answer sets the variables for one message. It panics over one that is not the bouncer's: the library closes the connection then,
// without an ACK, and HAProxy learns that nobody decided.
func answer(_ context.Context, actions *encoding.ActionWriter, message *encoding.Message) {
	name := string(message.NameBytes())
	client, cookie := read(name, message)
	decided := decide(client)
	cli.Work()
	set(actions, "remediation", decided)
	if name == "crowdsec-tcp" {
		return
	}
	switch {
	case decided == captcha:
		set(actions, "captcha_status", "pending")
		set(actions, "captcha_cookie", "crowdsec_captcha_cookie=pending; Path=/")
	case decided == allow && cookie:
		set(actions, "captcha_cookie", "crowdsec_captcha_cookie=; Path=/; Max-Age=0")
	}
}

func set(actions *encoding.ActionWriter, name, value string) {
	if err := actions.SetString(encoding.VarScopeTransaction, name, value); err != nil {
		log.Panic(err)
	}
}

// read returns the client's address, and whether its request has the cookie of a captcha.
func read(name string, message *encoding.Message) (client netip.Addr, cookie bool) {
	var names []string
	argument := encoding.AcquireKVEntry()
	defer encoding.ReleaseKVEntry(argument)
	for message.KV.Next(argument) {
		names = append(names, string(argument.NameBytes()))
		switch {
		case argument.NameEquals("src-ip"):
			client = argument.ValueAddr()
		case argument.NameEquals("headers"):
			cookie = strings.Contains(string(argument.ValueBytes()), "crowdsec_captcha_cookie=")
		}
	}
	if err := message.KV.Error(); err != nil {
		log.Panic(err)
	}
	if found := strings.Join(names, " "); found != arguments[name] || found == "" {
		log.Panicf("message %q with %q", name, found)
	}
	return client, cookie
}

func decide(client netip.Addr) string {
	if *decisions == "" {
		return allow
	}
	file, err := os.Open(*decisions)
	if err != nil {
		log.Panic(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		address, decision, _ := strings.Cut(lines.Text(), " ")
		if address == client.String() && (decision == ban || decision == captcha) {
			return decision
		}
	}
	return allow
}

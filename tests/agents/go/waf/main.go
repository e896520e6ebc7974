// A web application firewall as an agent: Coraza with the Core Rule Set, asked by the message that coraza-spoa documents.
//
// It differs from coraza-spoa in one thing: a request that passes is told so (action "allow"). There only its id is set, and HAProxy's
// rules could not tell it from a request that nobody checked.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"
	"github.com/dropmorepackets/haproxy-go/pkg/encoding"
	"github.com/dropmorepackets/haproxy-go/spop"

	"agents/cli"
)

const rules = `
Include @coraza.conf-recommended
Include @crs-setup.conf.example
Include @owasp_crs/*.conf
SecRuleEngine On
SecAuditEngine Off
`

func main() {
	// Before it listens, as coraza-spoa does: until the rules are loaded its address refuses connections.
	waf, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(rules))
	if err != nil {
		log.Fatal(err)
	}
	listener := cli.Start(
		"github.com/corazawaf/coraza/v3",
		"github.com/corazawaf/coraza-coreruleset/v4",
		"github.com/dropmorepackets/haproxy-go",
	)
	agent := spop.Agent{Handler: firewall{waf}}
	log.Fatal(agent.Serve(listener))
}

type firewall struct {
	waf coraza.WAF
}

// HandleSPOE answers one message. It panics where there is no verdict: the library closes the connection then, without an ACK,
// and HAProxy learns that this request was not checked.
func (f firewall) HandleSPOE(_ context.Context, actions *encoding.ActionWriter, message *encoding.Message) {
	if name := string(message.NameBytes()); name != "coraza-req" {
		log.Panicf("message %q", name)
	}
	asked, err := read(message)
	if err != nil {
		log.Panic(err)
	}
	interruption, err := f.judge(asked)
	if err != nil {
		log.Panic(err)
	}
	cli.Work()
	if err := answer(actions, interruption); err != nil {
		log.Panic(err)
	}
}

func answer(actions *encoding.ActionWriter, interruption *types.Interruption) error {
	if interruption == nil {
		return actions.SetString(encoding.VarScopeTransaction, "action", "allow")
	}
	if err := actions.SetString(encoding.VarScopeTransaction, "action", interruption.Action); err != nil {
		return err
	}
	if err := actions.SetInt64(encoding.VarScopeTransaction, "status", int64(interruption.Status)); err != nil {
		return err
	}
	return actions.SetInt64(encoding.VarScopeTransaction, "ruleid", int64(interruption.RuleID))
}

// request is what the message's arguments say.
type request struct {
	id, method, path, query, version string
	source, destination              string
	sourcePort, destinationPort      int
	headers, body                    []byte
}

func read(message *encoding.Message) (asked request, err error) {
	argument := encoding.AcquireKVEntry()
	defer encoding.ReleaseKVEntry(argument)
	for message.KV.Next(argument) {
		switch name := string(argument.NameBytes()); name {
		case "app", "exportRuleIDs": // one set of rules for all, and its numbers are in no variable
		case "id":
			asked.id = string(argument.ValueBytes())
		case "src-ip":
			asked.source = argument.ValueAddr().String()
		case "src-port":
			asked.sourcePort = int(argument.ValueInt())
		case "dst-ip":
			asked.destination = argument.ValueAddr().String()
		case "dst-port":
			asked.destinationPort = int(argument.ValueInt())
		case "method":
			asked.method = string(argument.ValueBytes())
		case "path":
			asked.path = string(argument.ValueBytes())
		case "query":
			asked.query = string(argument.ValueBytes())
		case "version":
			asked.version = string(argument.ValueBytes())
		case "headers": // the message's bytes are the library's to reuse
			asked.headers = append(asked.headers, argument.ValueBytes()...)
		case "body":
			asked.body = append(asked.body, argument.ValueBytes()...)
		default:
			return asked, fmt.Errorf("argument %q", name)
		}
	}
	return asked, message.KV.Error()
}

// judge returns what the rules say, nil for a request that they let pass.
func (f firewall) judge(asked request) (*types.Interruption, error) {
	transaction := f.waf.NewTransactionWithID(asked.id) // without one it makes its own
	defer transaction.Close()
	defer transaction.ProcessLogging()
	transaction.ProcessConnection(asked.source, asked.sourcePort, asked.destination, asked.destinationPort)
	uri := asked.path
	if asked.query != "" {
		uri += "?" + asked.query
	}
	transaction.ProcessURI(uri, asked.method, "HTTP/"+asked.version)
	for _, line := range strings.Split(string(asked.headers), "\r\n") {
		name, value, found := strings.Cut(line, ":")
		if !found {
			continue // the empty line behind the last one
		}
		value = strings.TrimSpace(value)
		transaction.AddRequestHeader(name, value)
		if http.CanonicalHeaderKey(name) == "Host" {
			transaction.SetServerName(value)
		}
	}
	if interruption := transaction.ProcessRequestHeaders(); interruption != nil {
		return interruption, nil
	}
	if interruption, _, err := transaction.WriteRequestBody(asked.body); interruption != nil || err != nil {
		return interruption, err
	}
	return transaction.ProcessRequestBody()
}

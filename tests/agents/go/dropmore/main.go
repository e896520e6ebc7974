// An agent on github.com/dropmorepackets/haproxy-go.
package main

import (
	"context"
	"log"

	"github.com/dropmorepackets/haproxy-go/pkg/encoding"
	"github.com/dropmorepackets/haproxy-go/spop"

	"agents/cli"
)

func main() {
	listener := cli.Start("github.com/dropmorepackets/haproxy-go")
	agent := spop.Agent{Handler: spop.HandlerFunc(answer)}
	log.Fatal(agent.Serve(listener))
}

func answer(_ context.Context, actions *encoding.ActionWriter, message *encoding.Message) {
	echo := ""
	argument := encoding.AcquireKVEntry()
	defer encoding.ReleaseKVEntry(argument)
	for message.KV.Next(argument) {
		if argument.NameEquals(cli.Echoed) {
			echo = string(argument.ValueBytes())
		}
	}
	cli.Work()
	if err := actions.SetBool(encoding.VarScopeTransaction, cli.Allowed, true); err != nil {
		log.Print(err)
	}
	if err := actions.SetString(encoding.VarScopeTransaction, cli.Echo, echo); err != nil {
		log.Print(err)
	}
}

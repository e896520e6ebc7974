// An agent on github.com/negasus/haproxy-spoe-go.
package main

import (
	"log"

	"github.com/negasus/haproxy-spoe-go/action"
	"github.com/negasus/haproxy-spoe-go/agent"
	"github.com/negasus/haproxy-spoe-go/logger"
	"github.com/negasus/haproxy-spoe-go/request"

	"agents/cli"
)

func main() {
	listener := cli.Start("github.com/negasus/haproxy-spoe-go")
	log.Fatal(agent.New(answer, logger.NewDefaultLog()).Serve(listener))
}

func answer(asked *request.Request) {
	var echo interface{}
	for i := 0; i < asked.Messages.Len(); i++ {
		if message, err := asked.Messages.GetByIndex(i); err == nil {
			if value, ok := message.KV.Get(cli.Echoed); ok {
				echo = value
			}
		}
	}
	cli.Work()
	asked.Actions.SetVar(action.ScopeTransaction, cli.Allowed, true)
	asked.Actions.SetVar(action.ScopeTransaction, cli.Echo, echo)
}

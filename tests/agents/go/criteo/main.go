// An agent on github.com/criteo/haproxy-spoe-go.
package main

import (
	"flag"
	"log"
	"strings"
	"time"

	spoe "github.com/criteo/haproxy-spoe-go"

	"agents/cli"
)

func main() {
	idle := flag.Int("idle-ms", 30000, "close a connection on which nothing has come for so many milliseconds (the library's default)")
	listener := cli.Start("github.com/criteo/haproxy-spoe-go")
	config := spoe.Config{ // as in spoe.New
		ReadTimeout:  time.Second,
		WriteTimeout: time.Second,
		IdleTimeout:  time.Duration(*idle) * time.Millisecond,
	}
	log.Fatal(spoe.NewWithConfig(answer, config).Serve(listener))
}

func answer(messages *spoe.MessageIterator) ([]spoe.Action, error) {
	echo := ""
	for messages.Next() {
		for args := messages.Message.Args; args.Next(); {
			if value, ok := args.Arg.Value.(string); ok && args.Arg.Name == cli.Echoed {
				echo = strings.Clone(value) // in v1.0.6 it is a piece of the frame, over which the ACK is then written
			}
		}
	}
	if err := messages.Error(); err != nil {
		return nil, err
	}
	cli.Work()
	return []spoe.Action{
		spoe.ActionSetVar{Name: cli.Allowed, Scope: spoe.VarScopeTransaction, Value: true},
		spoe.ActionSetVar{Name: cli.Echo, Scope: spoe.VarScopeTransaction, Value: echo},
	}, nil
}

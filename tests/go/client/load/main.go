// Calls the typed service of the model "sum", each call with a row of its own, and counts how they end.
//
// Calls begin at a steady rate, on a round robin over the addresses without health checks, until the
// standard input ends. With -burst that many begin at once on one connection instead.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"client/sum"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	roundRobin = `{"loadBalancingConfig": [{"round_robin": {}}]}`
	tick       = 2 * time.Millisecond
)

var (
	addresses = flag.String("addresses", "", "HOST:PORT of each server, with commas between them")
	rate      = flag.Int("rate", 500, "calls that begin in a second")
	burst     = flag.Int("burst", 0, "calls that begin at once, instead of a steady rate")
	bonus     = flag.Float64("bonus", 0, "what the score of a row of zeros is")
	timeout   = flag.Duration("timeout", 30*time.Second, "the deadline of a call")
)

// Servers that come back are found soon.
var soon = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 300 * time.Millisecond}

// How calls ended: failures by code and message.
type report struct {
	Answered int            `json:"answered"`
	Wrong    int            `json:"wrong"`
	Failed   int            `json:"failed"`
	Failures map[string]int `json:"failures"`
}

// Calls that run, and the report of those that ended.
type calls struct {
	client sum.SumServiceClient
	mutex  sync.Mutex
	group  sync.WaitGroup
	report report
}

func (calls *calls) begin(number int) {
	calls.group.Add(1)
	go func() {
		defer calls.group.Done()
		x0, x1 := float64(number%100_000), float64(number%7)
		row := &sum.SumRow{X0: proto.Float64(x0), X1: proto.Float64(x1), Country: proto.String("de")}
		timed, cancel := context.WithTimeout(context.Background(), *timeout)
		defer cancel()
		prediction, err := calls.client.Predict(timed, row)
		calls.mutex.Lock()
		defer calls.mutex.Unlock()
		switch {
		case err != nil:
			calls.report.Failed++
			calls.report.Failures[fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())]++
		case prediction.GetValue() != x0+x1+*bonus:
			calls.report.Wrong++
		default:
			calls.report.Answered++
		}
	}()
}

func (calls *calls) beginSteadily(ended <-chan struct{}) {
	start := time.Now()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for number := 0; ; {
		select {
		case <-ended:
			return
		case <-ticker.C:
			for due := int(time.Since(start).Seconds() * float64(*rate)); number < due; number++ {
				calls.begin(number)
			}
		}
	}
}

func main() {
	flag.Parse()
	var found []resolver.Address
	for _, address := range strings.Split(*addresses, ",") {
		found = append(found, resolver.Address{Addr: address})
	}
	known := manual.NewBuilderWithScheme("known")
	known.InitialState(resolver.State{Addresses: found})
	connection, err := grpc.NewClient("known:///servers", grpc.WithResolvers(known),
		grpc.WithDefaultServiceConfig(roundRobin), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: 5 * time.Second}))
	if err != nil {
		log.Fatal(err)
	}
	calls := calls{client: sum.NewSumServiceClient(connection), report: report{Failures: map[string]int{}}}
	if *burst > 0 {
		for number := range *burst {
			calls.begin(number)
		}
	} else {
		ended := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(ended)
		}()
		calls.beginSteadily(ended)
	}
	calls.group.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(calls.report); err != nil {
		log.Fatal(err)
	}
}

// Scores a row by the typed service of the model "sum", with the API key in SCOREWIRE_API_KEY, if there is one.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"client/sum"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// What each call shows to a server with --access.
type apiKey string

func (key apiKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(key)}, nil
}

// Without TLS, only for a server on this machine.
func (apiKey) RequireTransportSecurity() bool { return false }

func main() {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if key := os.Getenv("SCOREWIRE_API_KEY"); key != "" {
		options = append(options, grpc.WithPerRPCCredentials(apiKey(key)))
	}
	connection, err := grpc.NewClient(os.Args[1], options...)
	if err != nil {
		log.Fatal(err)
	}
	row := &sum.SumRow{X0: proto.Float64(1), X1: proto.Float64(2.5), Country: proto.String("de")}
	prediction, err := sum.NewSumServiceClient(connection).Predict(context.Background(), row)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(prediction.GetValue(), prediction.GetVersion())
}

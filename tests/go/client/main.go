// Scores a row by the typed service of the model "sum".
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

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
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

// Chat over gRPC: go run . 127.0.0.1:8081 smollm2-135m-instruct "Hi"
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	gatewayv1 "example.com/chat/gateway/v1"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: chat ADDRESS MODEL QUESTION")
	}
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	// The deadline is the request's, all the way to Triton; cancelling stops the generation.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := chat(ctx, gatewayv1.NewChatServiceClient(connection), os.Args[2], os.Args[3]); err != nil {
		log.Fatal(explain(err))
	}
}

func chat(ctx context.Context, client gatewayv1.ChatServiceClient, model, question string) error {
	maxTokens := uint32(60)
	stream, err := client.StreamChatCompletion(ctx, &gatewayv1.ChatCompletionRequest{
		Model: model,
		Conversation: &gatewayv1.Conversation{Messages: []*gatewayv1.Message{{
			Role:    gatewayv1.Role_ROLE_USER,
			Content: []*gatewayv1.ContentPart{{Part: &gatewayv1.ContentPart_Text{Text: question}}},
		}}},
		Limits: &gatewayv1.Limits{MaxTokens: &maxTokens},
	})
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Print(event.GetContent().GetText())
		if event.GetFinished() != nil {
			fmt.Printf("\n%d tokens\n", event.GetUsage().GetCompletionTokens())
		}
	}
}

// explain returns an error's message with the fields at fault.
func explain(err error) string {
	text := err.Error()
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range bad.GetFieldViolations() {
				text += "\n" + violation.GetField() + ": " + violation.GetDescription()
			}
		}
	}
	return text
}

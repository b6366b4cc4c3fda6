package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/access"
	"github.com/gatewarden/gatewarden/edge"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echo is a gRPC service with a unary and a bidirectional method.
var echo = grpc.ServiceDesc{
	ServiceName: "test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in wrapperspb.StringValue
		if err := decode(&in); err != nil {
			return nil, err
		}
		md, _ := metadata.FromIncomingContext(ctx)
		if err := grpc.SetTrailer(ctx, metadata.Pairs("x-sum", "1")); err != nil {
			return nil, err
		}
		if in.Value == "fail" {
			return nil, status.Error(codes.FailedPrecondition, "not now")
		}
		if in.Value == "wait" {
			<-time.After(200 * time.Millisecond)
		}
		return wrapperspb.String(in.Value + " " + md.Get("x-user")[0]), nil
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Chat", ClientStreams: true, ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			var in wrapperspb.StringValue
			if err := s.RecvMsg(&in); errors.Is(err, io.EOF) {
				s.SetTrailer(metadata.Pairs("x-sum", "2"))
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(&in); err != nil {
				return err
			}
		}
	}}},
}

func TestGRPCPassesWithTrailersAndStreams(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&echo, struct{}{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	d := to("h2c://" + l.Addr().String())
	limit := 50 * time.Millisecond
	addr := serve(t, false, Options{Transport: Transport{ResponseHeaderTimeout: limit}, Edge: edge.Options{ReadIdle: limit, WriteIdle: limit, Decider: decide(func(r *access.Request) access.Decision {
		if r.URL.Path == "/test.Echo/Denied" {
			return access.Decision{Refusal: access.Response{Status: 403}}
		}
		return d(r)
	})}}, edge.ServerOptions{H2C: true, IdleTimeout: limit})
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-user", "evil"), 10*time.Second)
	defer cancel()

	var out wrapperspb.StringValue
	var trailer metadata.MD
	if err := conn.Invoke(ctx, "/test.Echo/Say", wrapperspb.String("hello"), &out, grpc.Trailer(&trailer)); err != nil || out.Value != "hello alice" || len(trailer["x-sum"]) != 1 {
		t.Errorf("unary: got %q, trailer %v, %v", out.Value, trailer, err)
	}
	if err := conn.Invoke(ctx, "/test.Echo/Say", wrapperspb.String("fail"), &out, grpc.Trailer(&trailer)); status.Code(err) != codes.FailedPrecondition || len(trailer["x-sum"]) != 1 {
		t.Errorf("failing: got trailer %v, %v", trailer, err)
	}
	if err := conn.Invoke(ctx, "/test.Echo/Say", wrapperspb.String("wait"), &out); err != nil {
		t.Errorf("slow first message: got %v", err)
	}
	if err := conn.Invoke(ctx, "/test.Echo/Denied", wrapperspb.String("x"), &out); status.Code(err) != codes.PermissionDenied {
		t.Errorf("denied: got %v", err)
	}
	stream, err := conn.NewStream(ctx, &echo.Streams[0], "/test.Echo/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b", "c"} {
		if err := stream.SendMsg(wrapperspb.String(text)); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&out); err != nil || out.Value != text {
			t.Fatalf("stream: got %q, %v, want %q", out.Value, err, text)
		}
		<-time.After(2 * limit) // a stream may rest
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&out); !errors.Is(err, io.EOF) || len(stream.Trailer()["x-sum"]) != 1 {
		t.Errorf("end of stream: got %v, trailer %v", err, stream.Trailer())
	}
}

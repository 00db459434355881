// An empty C++ gRPC server: the callback API, one thread for polling, every call answered with its message.
// Prints the address that it listens on, and serves until it is ended.

#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <iostream>
#include <string>

#include "echo.grpc.pb.h"

class Echo final : public scorewire::v1::PredictionService::CallbackService {
  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* context, const scorewire::v1::Anything* request,
                                    scorewire::v1::Anything* answer) override {
    answer->CopyFrom(*request);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

int main() {
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&echo);
  auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::cout << "127.0.0.1:" << port << std::endl;
  server->Wait();
}

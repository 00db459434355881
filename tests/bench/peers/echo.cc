// An empty C++ gRPC server: the callback API, one thread for polling, every call answered with its message.
// Prints the address that it listens on, and serves until it is ended. With two arguments, the PEM files of a
// certificate chain and of its key, it serves over TLS.

#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
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

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::shared_ptr<grpc::ServerCredentials> Credentials(int argc, char** argv) {
  if (argc < 3) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs.push_back({ReadFile(argv[2]), ReadFile(argv[1])});
  return grpc::SslServerCredentials(options);
}

int main(int argc, char** argv) {
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", Credentials(argc, argv), &port);
  builder.RegisterService(&echo);
  auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::cout << "127.0.0.1:" << port << std::endl;
  server->Wait();
}

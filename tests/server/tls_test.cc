// TLS and mutual TLS, with certificates made for the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "tests/server/test_server.h"
#include "tests/support/key_pair.h"

namespace slimfill::testing {
namespace {

using ::testing::HasSubstr;

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() : folder_(std::filesystem::path(::testing::TempDir()) / ("tls_test." + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~TlsTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  TestServerOptions Options(bool mutual) {
    return {.configure = [this, mutual](server::ServerConfig& config) {
      config.tls_cert = Write("cert", server_keys_.certificate);
      config.tls_key = Write("key", server_keys_.key);
      if (mutual) config.tls_client_ca = Write("ca", client_keys_.certificate);
    }};
  }
  static grpc::StatusCode Call(TestServer& server, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    const auto stub = v1::InferenceService::NewStub(grpc::CreateChannel(server.app().address(), credentials));
    grpc::ClientContext context;
    v1::GetModelResponse response;
    return stub->GetModel(&context, {}, &response).error_code();
  }

  std::filesystem::path folder_;
  const KeyPair server_keys_ = MakeKeyPair("server");
  const KeyPair client_keys_ = MakeKeyPair("client");
};

TEST_F(TlsTest, ServesClientsThatTrustItsCertificate) {
  TestServer server(Options(/*mutual=*/false));
  EXPECT_EQ(Call(server, grpc::SslCredentials({server_keys_.certificate, "", ""})), grpc::StatusCode::OK);
  EXPECT_EQ(Call(server, grpc::SslCredentials({client_keys_.certificate, "", ""})), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(server, grpc::InsecureChannelCredentials()), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, MutualTlsNeedsAClientCertificate) {
  TestServer server(Options(/*mutual=*/true));
  EXPECT_EQ(Call(server, grpc::SslCredentials({server_keys_.certificate, client_keys_.key, client_keys_.certificate})),
            grpc::StatusCode::OK);
  EXPECT_EQ(Call(server, grpc::SslCredentials({server_keys_.certificate, "", ""})), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(server, grpc::SslCredentials({server_keys_.certificate, server_keys_.key, server_keys_.certificate})),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, FilesThatCannotBeUsedNameTheirFlag) {
  FakeClock clock;
  Metrics metrics;
  server::ServerConfig config;
  config.listen = "127.0.0.1:0";
  config.metrics_listen = "off";
  config.tls_cert = Write("cert", server_keys_.certificate);
  const auto error = [&] {
    return std::string(server::App::Start(config, MakeTestEngine(clock, {}), metrics, clock).status().message());
  };
  config.tls_key = "/does/not/exist";
  EXPECT_THAT(error(), HasSubstr("--tls-key /does/not/exist: is not a readable PEM file"));
  config.tls_key = Write("key", "garbage");
  EXPECT_THAT(error(), HasSubstr("--tls-key"));
  config.tls_key = Write("key", client_keys_.key);
  EXPECT_THAT(error(), HasSubstr("the TLS files do not fit together"));
}

}  // namespace
}  // namespace slimfill::testing

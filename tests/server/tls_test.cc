// TLS and mutual TLS, with certificates made for the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "tests/server/test_server.h"

namespace slimfill::testing {
namespace {

using ::testing::HasSubstr;

struct KeyPair {
  std::string key, certificate;  // PEM
};

std::string Pem(const std::function<void(BIO*)>& write) {
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> bio(BIO_new(BIO_s_mem()), BIO_free_all);
  write(bio.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(size)};
}

// A self-signed certificate for localhost, its own authority.
KeyPair MakeKeyPair(const char* name) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509* x = certificate.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name),
                             -1, -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(x));
  for (const auto& [id, value] :
       {std::pair{NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1"}, std::pair{NID_basic_constraints, "CA:TRUE"}}) {
    const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
        X509V3_EXT_conf_nid(nullptr, nullptr, id, value), X509_EXTENSION_free);
    X509_add_ext(x, extension.get(), -1);
  }
  X509_sign(x, key.get(), EVP_sha256());
  return {Pem([&](BIO* bio) { PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr); }),
          Pem([&](BIO* bio) { PEM_write_bio_X509(bio, x); })};
}

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

#include "server/auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "grpcpp/client_context.h"
#include "tests/server/test_server.h"

namespace slimfill::server {
namespace {

using ::testing::HasSubstr;

// SHA-256 of "alpha" and "beta".
constexpr char kAlpha[] = "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8";
constexpr char kBeta[] = "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753";

class AuthTest : public ::testing::Test {
 protected:
  AuthTest() : file_(::testing::TempDir() + "tokens." + std::to_string(getpid())) {}
  ~AuthTest() override { std::filesystem::remove(file_); }
  void Write(const std::string& text) { std::ofstream(file_, std::ios::trunc) << text; }

  FakeClock clock_;
  std::string file_;
};

TEST_F(AuthTest, TokensBelongToTenants) {
  Write(std::string("# tokens\nacme:") + kAlpha + "\n\n globex:" + kBeta + " # second\n");
  auto auth = Authenticator::Create(file_, clock_);
  ASSERT_TRUE(auth.ok()) << auth.status();
  EXPECT_EQ(*(*auth)->Authenticate("Bearer alpha", ""), "acme");
  EXPECT_EQ(*(*auth)->Authenticate("Bearer beta", ""), "globex");
}

TEST_F(AuthTest, RefusesMissingAndWrongTokens) {
  Write(std::string("acme:") + kAlpha);
  auto auth = Authenticator::Create(file_, clock_);
  ASSERT_TRUE(auth.ok()) << auth.status();
  for (const std::string& header : {std::string(), std::string("Bearer "), std::string("Bearer alph"),
                                    std::string("Bearer alphaa"), std::string("alpha"), std::string("Basic alpha"),
                                    "Bearer " + std::string(100'000, 'a'), std::string("Bearer ") + kAlpha}) {
    EXPECT_TRUE(absl::IsUnauthenticated((*auth)->Authenticate(header, "").status())) << header.substr(0, 40);
  }
}

TEST_F(AuthTest, WithoutAFileEveryoneIsTheTenantOfTheirCertificate) {
  auto auth = Authenticator::Create("", clock_);
  EXPECT_EQ(*(*auth)->Authenticate("", ""), "");
  EXPECT_EQ(*(*auth)->Authenticate("", "client.example"), "client.example");
}

TEST_F(AuthTest, ReadsAChangedFileAgain) {
  Write(std::string("acme:") + kAlpha);
  auto auth = Authenticator::Create(file_, clock_);
  EXPECT_TRUE((*auth)->Authenticate("Bearer alpha", "").ok());
  Write(std::string("acme:") + kBeta);
  EXPECT_TRUE((*auth)->Authenticate("Bearer alpha", "").ok());  // looked a moment ago
  clock_.Advance(absl::Seconds(2));
  EXPECT_FALSE((*auth)->Authenticate("Bearer alpha", "").ok());
  EXPECT_TRUE((*auth)->Authenticate("Bearer beta", "").ok());
}

TEST_F(AuthTest, KeepsTheLastGoodFile) {
  Write(std::string("acme:") + kAlpha);
  auto auth = Authenticator::Create(file_, clock_);
  for (const char* bad : {"garbage", ""}) {
    Write(bad);
    clock_.Advance(absl::Seconds(2));
    EXPECT_TRUE((*auth)->Authenticate("Bearer alpha", "").ok());
  }
  std::filesystem::remove(file_);
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE((*auth)->Authenticate("Bearer alpha", "").ok());
}

TEST_F(AuthTest, BadFilesNameTheLine) {
  const auto error = [&] { return std::string(Authenticator::Create(file_, clock_).status().message()); };
  EXPECT_THAT(error(), HasSubstr("cannot be read"));
  Write(std::string("acme:") + kAlpha + "\nacme:short\n");
  EXPECT_THAT(error(), HasSubstr("line 2 is not tenant:sha256"));
  Write(std::string(":") + kAlpha);
  EXPECT_THAT(error(), HasSubstr("line 1"));
  Write("# nobody\n");
  EXPECT_THAT(error(), HasSubstr("no tokens"));
  Write(std::string(2 << 20, '#'));
  EXPECT_THAT(error(), HasSubstr("larger than"));
}

TEST_F(AuthTest, EveryRpcAsksForTheToken) {
  Write(std::string("acme:") + kAlpha);
  testing::TestServer server({.configure = [this](ServerConfig& config) { config.auth_tokens = file_; }});
  const auto call = [&](const char* token, auto method) {
    grpc::ClientContext context;
    if (token != nullptr) context.AddMetadata("authorization", std::string("Bearer ") + token);
    return method(context).error_code();
  };
  const auto generate = [&](grpc::ClientContext& context) {
    v1::GenerateRequest request;
    request.set_text("a");
    const auto stream = server.stub().Generate(&context, request);
    v1::GenerateResponse event;
    while (stream->Read(&event)) {
    }
    return stream->Finish();
  };
  const auto once = [&](grpc::ClientContext& context) {
    v1::GenerateOnceRequest request;
    request.set_text("a");
    v1::GenerateOnceResponse response;
    return server.stub().GenerateOnce(&context, request, &response);
  };
  const auto tokenize = [&](grpc::ClientContext& context) {
    v1::TokenizeRequest request;
    request.set_text("a");
    v1::TokenizeResponse response;
    return server.stub().Tokenize(&context, request, &response);
  };
  const auto model = [&](grpc::ClientContext& context) {
    v1::GetModelResponse response;
    return server.stub().GetModel(&context, {}, &response);
  };
  const auto check = [&](auto method) {
    EXPECT_EQ(call(nullptr, method), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(call("wrong", method), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(call("alpha", method), grpc::StatusCode::OK);
  };
  check(generate);
  check(once);
  check(tokenize);
  check(model);
}

}  // namespace
}  // namespace slimfill::server

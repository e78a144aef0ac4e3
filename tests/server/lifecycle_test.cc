// Calls that end early, readers that do not read, and the server's own beginning and end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "absl/strings/match.h"
#include "base/metric_names.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "tests/server/test_server.h"

namespace slimfill::testing {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

v1::GenerateRequest TextRequest(const std::string& text, int max_tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.mutable_sampling()->set_max_tokens(max_tokens);
  return request;
}

// Runs a request to its end; with max_running 1 it can only start when those before it hold nothing any more.
grpc::Status RunAnother(TestServer& server) {
  v1::GenerateOnceRequest request;
  request.set_text("z");
  request.mutable_sampling()->set_max_tokens(1);
  v1::GenerateOnceResponse response;
  grpc::ClientContext context;
  return server.stub().GenerateOnce(&context, request, &response);
}

void OneAtATime(server::ServerConfig& config) { config.max_running = 1; }

TEST(Cancellation, OfTheClientFreesTheEngine) {
  TestServer server({.configure = OneAtATime});
  server.gate().Close();
  grpc::ClientContext context;
  const auto stream = server.stub().Generate(&context, TextRequest(std::string(1000, 'x'), 100'000));
  v1::GenerateResponse event;
  ASSERT_TRUE(stream->Read(&event));
  server.gate().WaitUntilHeld();
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server.gate().Open();
  EXPECT_TRUE(RunAnother(server).ok());
  EXPECT_EQ(server.engine().live_sequences(), 0);
}

TEST(Cancellation, OfAUnaryCallFreesTheEngine) {
  TestServer server({.configure = OneAtATime});
  server.gate().Close();
  v1::GenerateOnceRequest request;
  request.set_text("a");
  request.mutable_sampling()->set_max_tokens(100'000);
  grpc::ClientContext context;
  std::thread caller([&] {
    v1::GenerateOnceResponse response;
    EXPECT_EQ(server.stub().GenerateOnce(&context, request, &response).error_code(), grpc::StatusCode::CANCELLED);
  });
  server.gate().WaitUntilHeld();
  context.TryCancel();
  caller.join();
  server.gate().Open();
  EXPECT_TRUE(RunAnother(server).ok());
  EXPECT_EQ(server.engine().live_sequences(), 0);
}

TEST(Deadline, EndsACallThatRuns) {
  TestServer server({.configure = OneAtATime});
  server.gate().Close();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const auto stream = server.stub().Generate(&context, TextRequest("a", 100'000));
  v1::GenerateResponse event;
  while (stream->Read(&event)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  server.gate().Open();
  EXPECT_TRUE(RunAnother(server).ok());
}

TEST(SlowReader, NeverHoldsUpTheEngineAndIsCutOff) {
  TestServer server({.configure = OneAtATime});
  grpc::ClientContext context;
  const auto stream = server.stub().Generate(&context, TextRequest("a", 200'000));
  // Nothing is read until another request has run to its end on the only place there is.
  EXPECT_TRUE(RunAnother(server).ok());
  EXPECT_EQ(server.engine().live_sequences(), 0);
  v1::GenerateResponse event;
  int tokens = 0;
  while (stream->Read(&event)) {
    if (!event.has_token()) continue;
    EXPECT_EQ(event.token().token_id(), tokens);  // what comes is without gaps
    ++tokens;
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("reads too slowly"));
  EXPECT_GT(tokens, 8000);
  EXPECT_LT(tokens, 200'000);
}

HealthCheckResponse::ServingStatus Check(TestServer& server, const std::string& service, grpc::StatusCode* code) {
  auto stub = Health::NewStub(server.channel());
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  *code = stub->Check(&context, request, &response).error_code();
  return response.status();
}

TEST(HealthService, KnowsItsServices) {
  TestServer server;
  grpc::StatusCode code;
  for (const char* service : {"", "liveness", "readiness", "slimfill.v1.InferenceService"}) {
    EXPECT_EQ(Check(server, service, &code), HealthCheckResponse::SERVING) << service;
    EXPECT_EQ(code, grpc::StatusCode::OK);
  }
  Check(server, "nobody", &code);
  EXPECT_EQ(code, grpc::StatusCode::NOT_FOUND);
}

TEST(Drain, FinishesWhatWasAdmittedWithLivenessOnAndReadinessOff) {
  TestServer server;
  server.gate().Close();
  grpc::ClientContext context;
  const auto stream = server.stub().Generate(&context, TextRequest("a", 50));
  v1::GenerateResponse event;
  ASSERT_TRUE(stream->Read(&event));
  server.gate().WaitUntilHeld();

  auto health = Health::NewStub(server.channel());
  grpc::ClientContext watch_context;
  HealthCheckRequest request;
  request.set_service("readiness");
  const auto watch = health->Watch(&watch_context, request);
  HealthCheckResponse state;
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), HealthCheckResponse::SERVING);

  bool drained = false;
  std::thread stop([&] { drained = server.app().Stop(absl::Hours(1)); });
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), HealthCheckResponse::NOT_SERVING);
  grpc::StatusCode code;
  EXPECT_EQ(Check(server, "liveness", &code), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check(server, "slimfill.v1.InferenceService", &code), HealthCheckResponse::NOT_SERVING);
  watch_context.TryCancel();
  server.gate().Open();
  int tokens = 0;
  while (stream->Read(&event)) tokens += event.has_token() ? 1 : 0;
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(tokens, 50);
  stop.join();
  EXPECT_TRUE(drained);
}

TEST(Drain, EndsWithUnavailableWhatDoesNotFinishInTime) {
  TestServer server;
  server.gate().Close();
  grpc::ClientContext context;
  const auto stream = server.stub().Generate(&context, TextRequest("a", 100'000));
  v1::GenerateResponse event;
  ASSERT_TRUE(stream->Read(&event));
  server.gate().WaitUntilHeld();
  bool drained = true;
  std::thread stop([&] { drained = server.app().Stop(absl::ZeroDuration()); });
  // The gate's next pass finds the scheduler stopping.
  server.gate().Open();
  while (stream->Read(&event)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  stop.join();
  EXPECT_FALSE(drained);
}

TEST(App, AddressInUseNamesTheFlag) {
  TestServer first({.configure = [](server::ServerConfig& config) { config.metrics_listen = "127.0.0.1:0"; }});
  Metrics metrics;
  SystemClock clock;
  const auto start = [&](const std::string& listen, const std::string& metrics_listen) {
    FakeClock fake_clock;
    TestServerOptions options;
    server::ServerConfig config;
    config.listen = listen;
    config.metrics_listen = metrics_listen;
    return server::App::Start(config, MakeTestEngine(fake_clock, options), metrics, clock).status();
  };
  const absl::Status taken = start(first.app().address(), "off");
  EXPECT_TRUE(absl::IsUnavailable(taken));
  EXPECT_THAT(std::string(taken.message()), HasSubstr("--listen"));
  EXPECT_THAT(std::string(taken.message()), HasSubstr(first.app().address()));
  const absl::Status metrics_taken = start("127.0.0.1:0", first.app().metrics_address());
  EXPECT_TRUE(absl::IsUnavailable(metrics_taken));
  EXPECT_THAT(std::string(metrics_taken.message()), HasSubstr("--metrics-listen"));
}

// What reflection lists, raw: its messages are inside the gRPC library. "" when there is no reflection.
std::string ListServices(TestServer& server) {
  grpc::GenericStub stub(server.channel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  auto call = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  wait();
  const grpc::Slice list_services("\x3a\x01*");  // field 7, "*"
  call->Write(grpc::ByteBuffer(&list_services, 1), nullptr);
  wait();
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  std::string text;
  if (wait()) {
    std::vector<grpc::Slice> slices;
    answer.Dump(&slices);
    for (const grpc::Slice& slice : slices) text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  queue.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) {
  }
  return text;
}

TEST(Reflection, ListsTheService) {
  TestServer server;
  EXPECT_THAT(ListServices(server), HasSubstr("slimfill.v1.InferenceService"));
}

TEST(Reflection, CanBeTurnedOff) {
  TestServer server({.configure = [](server::ServerConfig& config) { config.reflection = false; }});
  EXPECT_EQ(ListServices(server), "");
}

}  // namespace
}  // namespace slimfill::testing

// Every row of the error table, as clients see it.
#include "server/errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "grpcpp/client_context.h"
#include "grpcpp/generic/generic_stub.h"
#include "tests/server/test_server.h"

namespace slimfill::testing {
namespace {

using ::google::rpc::BadRequest;
using ::google::rpc::ErrorInfo;
using ::google::rpc::QuotaFailure;
using ::google::rpc::ResourceInfo;
using ::google::rpc::RetryInfo;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

v1::GenerateOnceRequest Text(const std::string& text, int max_tokens = 1) {
  v1::GenerateOnceRequest request;
  request.set_text(text);
  request.mutable_sampling()->set_max_tokens(max_tokens);
  return request;
}

// One unary call with its trailers.
struct Outcome {
  grpc::Status status;
  std::string pushback_ms;
};

Outcome Call(TestServer& server, const v1::GenerateOnceRequest& request,
             std::chrono::milliseconds deadline = std::chrono::hours(1)) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + deadline);
  v1::GenerateOnceResponse response;
  Outcome outcome{server.stub().GenerateOnce(&context, request, &response), ""};
  const auto& trailers = context.GetServerTrailingMetadata();
  if (const auto found = trailers.find("grpc-retry-pushback-ms"); found != trailers.end()) {
    outcome.pushback_ms.assign(found->second.data(), found->second.size());
  }
  return outcome;
}

TEST(Errors, BadFieldIsInvalidArgumentWithItsPath) {
  TestServer server;
  v1::GenerateOnceRequest request = Text("a");
  request.mutable_sampling()->set_top_p(-1);
  const grpc::Status status = Call(server, request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_EQ(Detail<BadRequest>(status).field_violations_size(), 1);
  EXPECT_EQ(Detail<BadRequest>(status).field_violations(0).field(), "sampling.top_p");
  EXPECT_THAT(status.error_message(), HasSubstr("-1"));
  EXPECT_EQ(Detail<ErrorInfo>(status).reason(), "INVALID_FIELD");
  EXPECT_EQ(Detail<ErrorInfo>(status).domain(), "slimfill");
  EXPECT_EQ(server.metrics().Value(metric::kRequests, {"GenerateOnce", "INVALID_ARGUMENT"}), 1);
}

TEST(Errors, PromptBeyondTheContextNamesBothLengthsAndTheFlag) {
  TestServer server({.engine = {.max_context = 100}});
  const grpc::Status status = Call(server, Text(std::string(300, 'x'))).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(),
              HasSubstr("prompt has 300 tokens, the model's context is 100: shorten it or start "
                        "the server with --max-context"));
  EXPECT_EQ(Detail<ErrorInfo>(status).reason(), "PROMPT_TOO_LONG");
  EXPECT_EQ(Detail<BadRequest>(status).field_violations(0).field(), "prompt");
}

TEST(Errors, FarTooLongPromptsAreNotTokenisedToTheEnd) {
  TestServer server({.engine = {.max_context = 100}});
  v1::GenerateOnceRequest chat;  // short contents, but each message has tokens around it
  for (int i = 0; i < 100; ++i) {
    v1::ChatMessage& message = *chat.mutable_chat()->add_messages();
    message.set_role("user");
    message.set_content("x");
  }
  EXPECT_THAT(Call(server, chat).status.error_message(), HasSubstr("prompt has more than 400 tokens"));
  EXPECT_THAT(Call(server, Text(std::string(1'000'000, 'x'))).status.error_message(),
              HasSubstr("prompt has 1000000 bytes"));
}

TEST(Errors, TokenIdsBeyondTheContextAreRefusedToo) {
  TestServer server({.engine = {.max_context = 10}});
  v1::GenerateOnceRequest request;
  for (int i = 0; i < 11; ++i) request.mutable_token_ids()->add_ids(i);
  EXPECT_THAT(Call(server, request).status.error_message(), HasSubstr("prompt has 11 tokens"));
}

TEST(Errors, ChatWithoutATemplateSaysWhatToDo) {
  TestServer server({.with_chat_template = false});
  v1::GenerateOnceRequest request;
  v1::ChatMessage& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content("hi");
  const grpc::Status status = Call(server, request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("send the prompt as `text`"));
}

TEST(Errors, UnknownModelIsNotFoundWithResourceInfo) {
  TestServer server;
  v1::GenerateOnceRequest request = Text("a");
  request.set_model("gpt-99");
  const grpc::Status status = Call(server, request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Detail<ResourceInfo>(status).resource_type(), "model");
  EXPECT_EQ(Detail<ResourceInfo>(status).resource_name(), "gpt-99");
  EXPECT_THAT(status.error_message(), HasSubstr("'fake'"));
  EXPECT_EQ(Detail<ErrorInfo>(status).reason(), "MODEL_NOT_FOUND");
  request.set_model("fake");
  EXPECT_TRUE(Call(server, request).status.ok());
}

TEST(Errors, FullQueueIsResourceExhaustedWithRetryAndQuota) {
  TestServer server({.configure = [](server::ServerConfig& config) {
    config.max_queue = 1;
    config.max_running = 1;
  }});
  server.gate().Close();
  // One runs and one waits; whichever comes then is refused.
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>> streams;
  v1::GenerateRequest request;
  request.set_text("a");
  v1::GenerateResponse event;
  do {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(server.stub().Generate(contexts.back().get(), request));
  } while (streams.back()->Read(&event));
  EXPECT_LE(streams.size(), 3u);
  EXPECT_EQ(streams.back()->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  streams.pop_back();
  const Outcome outcome = Call(server, Text("a"));
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasDetail<QuotaFailure>(outcome.status));
  EXPECT_EQ(Detail<RetryInfo>(outcome.status).retry_delay().seconds(), 2);
  EXPECT_EQ(outcome.pushback_ms, "2000");
  EXPECT_THAT(outcome.status.error_message(), HasSubstr("--max-queue"));
  server.gate().Open();
  for (auto& stream : streams) {
    while (stream->Read(&event)) {
    }
    EXPECT_TRUE(stream->Finish().ok());
  }
}

TEST(Errors, DeadlineBelowThePredictionIsRefusedAtAdmission) {
  TestServer server;
  // Lets the cost model learn: chunks of this engine take 0.1 s and more.
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Call(server, Text(std::string(100'000, 'x'))).status.ok());
  // An hour's prefill would not fit into what is left; the real call has ample time to answer.
  server.engine().Script('y', {});
  const Outcome outcome = Call(server, Text(std::string(200'000, 'y')), std::chrono::seconds(5));
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(outcome.status.error_message(), HasSubstr("the first token is predicted in"));
  EXPECT_THAT(outcome.status.error_message(), HasSubstr("the deadline is in"));
  EXPECT_TRUE(HasDetail<RetryInfo>(outcome.status));
}

TEST(Errors, InternalErrorsHideWhatHappenedUnderAnId) {
  TestServer server;
  server.engine().Script('k', {.fail_at_chunk = 0, .failure = absl::InternalError("secret pointer 0xdead")});
  const grpc::Status status = Call(server, Text("k")).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(status.error_message(),
              MatchesRegex("internal error; the server's log has the details under id [0-9a-f]+"));
  EXPECT_FALSE(absl::StrContains(status.error_details(), "secret"));
  EXPECT_EQ(Detail<ErrorInfo>(status).reason(), "INTERNAL");
}

TEST(Errors, FailureInTheMiddleOfAnAnswerEndsTheStreamWithItsStatus) {
  TestServer server;
  server.engine().Script('k', {.fail_at_token = 3, .failure = absl::UnavailableError("the backend went away")});
  v1::GenerateRequest request;
  request.set_text("k");
  grpc::ClientContext context;
  const auto stream = server.stub().Generate(&context, request);
  v1::GenerateResponse event;
  int tokens = 0;
  while (stream->Read(&event)) tokens += event.has_token() ? 1 : 0;
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(tokens, 3);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(HasDetail<RetryInfo>(status));
}

TEST(Errors, DrainingIsUnavailableWithRetry) {
  TestServer server;
  ASSERT_TRUE(Call(server, Text("a")).status.ok());
  server.gate().Close();
  v1::GenerateRequest request;
  request.set_text("a");
  grpc::ClientContext context;
  const auto running = server.stub().Generate(&context, request);
  v1::GenerateResponse event;
  ASSERT_TRUE(running->Read(&event));
  server.gate().WaitUntilHeld();
  std::thread stop([&] { server.app().Stop(absl::Hours(1)); });
  Outcome outcome;
  do {
    outcome = Call(server, Text("a"), std::chrono::milliseconds(200));  // until the drain has begun
  } while (outcome.status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(HasDetail<RetryInfo>(outcome.status));
  EXPECT_EQ(outcome.pushback_ms, "1000");
  server.gate().Open();
  while (running->Read(&event)) {
  }
  const grpc::Status status = running->Finish();  // admitted before the drain, so it may finish
  EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
  stop.join();
}

// Sends raw bytes to a unary method.
grpc::Status RawCall(TestServer& server, const std::string& method, const std::string& bytes) {
  grpc::GenericStub stub(server.channel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, &call);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return status;
}

TEST(Errors, BrokenEncodingAndInvalidUtf8AreInvalidArgument) {
  TestServer server;
  const std::string invalid_utf8 = "\x12\x02\xff\xfe";  // field 2 (text), two bytes
  const std::string truncated = "\x12\x7fhello";
  std::string nested;                               // deeper than any parser should follow
  for (int i = 0; i < 1000; ++i) nested += "\x1b";  // start group, field 3
  for (const char* method : {"GenerateOnce", "FirstToken", "Tokenize", "Generate"}) {
    for (const std::string& bytes : {invalid_utf8, truncated, nested}) {
      const grpc::Status status = RawCall(server, absl::StrCat("/slimfill.v1.InferenceService/", method), bytes);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
      EXPECT_THAT(status.error_message(), HasSubstr("UTF-8"));
      EXPECT_EQ(Detail<ErrorInfo>(status).reason(), "MALFORMED_REQUEST");
    }
  }
}

TEST(Errors, MessagesAboveTheLimitAreResourceExhausted) {
  TestServer server({.configure = [](server::ServerConfig& config) { config.max_message_mib = 1; }});
  const grpc::Status status = Call(server, Text(std::string(2 << 20, 'x'))).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("larger than max"));
  EXPECT_TRUE(Call(server, Text("a")).status.ok());
}

TEST(Errors, TooMuchMetadataIsResourceExhausted) {
  TestServer server;
  grpc::ClientContext context;
  context.AddMetadata("x-large", std::string(100'000, 'x'));
  v1::GetModelResponse response;
  EXPECT_EQ(server.stub().GetModel(&context, {}, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(Errors, UnknownMethodsAreUnimplemented) {
  TestServer server;
  EXPECT_EQ(RawCall(server, "/slimfill.v1.InferenceService/Nope", "").error_code(), grpc::StatusCode::UNIMPLEMENTED);
  // Triton's shared memory RPCs are not there, on purpose.
  EXPECT_EQ(RawCall(server, "/inference.GRPCInferenceService/SystemSharedMemoryRegister", "").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST(ToClientError, TextsAreBounded) {
  EXPECT_LE(server::ToClientError(absl::InvalidArgumentError(std::string(100'000, 'x'))).message.size(), 1024u);
  EXPECT_LE(server::ToClientError(server::ModelNotFound(std::string(100'000, 'x'), "m")).details.size(), 2048u);
}

}  // namespace
}  // namespace slimfill::testing

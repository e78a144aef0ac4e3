// What each RPC answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "grpcpp/client_context.h"
#include "tests/server/test_server.h"

namespace slimfill::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using Event = v1::GenerateResponse;

std::vector<Event> Collect(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request, grpc::Status* status) {
  grpc::ClientContext context;
  const auto stream = stub.Generate(&context, request);
  std::vector<Event> events;
  Event event;
  while (stream->Read(&event)) events.push_back(event);
  *status = stream->Finish();
  return events;
}

v1::GenerateRequest TextRequest(const std::string& text, int max_tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.mutable_sampling()->set_max_tokens(max_tokens);
  return request;
}

TEST(Generate, StreamsAdmittedProgressTokensFinishedInThisOrder) {
  TestServer server;
  grpc::Status status;
  const std::vector<Event> events = Collect(server.stub(), TextRequest(std::string(2000, 'x'), 4), &status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_GE(events.size(), 6u);  // and progress, unless all of it coalesced away
  EXPECT_EQ(events.front().event_case(), Event::kAdmitted);
  EXPECT_EQ(events.front().admitted().prompt_tokens(), 2000);
  EXPECT_GT(events.front().admitted().request_id(), 0u);
  size_t i = 1;
  double fraction = -1;
  for (; events[i].event_case() == Event::kProgress; ++i) {
    EXPECT_GE(events[i].progress().fraction_done(), fraction);
    fraction = events[i].progress().fraction_done();
    EXPECT_EQ(events[i].progress().tokens_total(), 2000);
  }
  for (int token = 0; token < 4; ++token, ++i) {
    ASSERT_EQ(events[i].event_case(), Event::kToken);
    EXPECT_EQ(events[i].token().text(), absl::StrCat(token, " "));
    EXPECT_EQ(events[i].token().token_id(), token);
  }
  ASSERT_EQ(i + 1, events.size());
  ASSERT_EQ(events.back().event_case(), Event::kFinished);
}

TEST(Generate, ProgressBeginsWhenTheRequestLeavesTheQueue) {
  TestServer server;
  server.engine().Script('x', {.cached_tokens = 512});
  server.gate().Close();
  grpc::ClientContext context;
  const auto stream = server.stub().Generate(&context, TextRequest(std::string(2000, 'x'), 1));
  Event event;
  ASSERT_TRUE(stream->Read(&event));
  EXPECT_TRUE(event.has_admitted());
  server.gate().WaitUntilHeld();  // after the engine's Start
  server.gate().PassOne();
  server.gate().WaitUntilHeld();  // in the first chunk
  ASSERT_TRUE(stream->Read(&event));
  ASSERT_TRUE(event.has_progress());
  EXPECT_EQ(event.progress().cached_tokens(), 512);
  EXPECT_EQ(event.progress().tokens_total(), 2000);
  EXPECT_EQ(event.progress().fraction_done(), 0);
  server.gate().Open();
  while (stream->Read(&event)) {
  }
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(Generate, FinishedReportsUsageTimingsAndStages) {
  TestServer server;
  server.engine().Script('x', {.cached_tokens = 512});
  grpc::Status status;
  const std::vector<Event> events = Collect(server.stub(), TextRequest(std::string(4096, 'x'), 3), &status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const v1::Finished& finished = events.back().finished();
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(finished.usage().prompt_tokens(), 4096);
  EXPECT_EQ(finished.usage().cached_tokens(), 512);
  EXPECT_EQ(finished.usage().output_tokens(), 3);
  EXPECT_TRUE(finished.pruned());
  EXPECT_EQ(finished.served_by(), "warm");
  ASSERT_EQ(finished.stages_size(), 2);
  EXPECT_EQ(finished.stages(0).tokens_in(), 4096);
  EXPECT_EQ(finished.stages(0).tokens_kept(), 1024);
  EXPECT_GT(finished.stages(1).compute_ms(), 0);
  EXPECT_GT(finished.timings().prefill_ms(), 0);
  EXPECT_NEAR(finished.timings().ttft_ms(), finished.timings().queue_ms() + finished.timings().prefill_ms(), 1e-6);
  EXPECT_DOUBLE_EQ(finished.timings().mean_inter_token_ms(), 10);
  EXPECT_NEAR(finished.timings().total_ms(), finished.timings().ttft_ms() + 20, 1e-6);
}

TEST(Generate, SeedIsTheCallersOrDrawn) {
  TestServer server;
  grpc::Status status;
  v1::GenerateRequest request = TextRequest("a", 1);
  request.mutable_sampling()->set_seed(42);
  EXPECT_EQ(Collect(server.stub(), request, &status).back().finished().seed(), 42u);
  request.mutable_sampling()->clear_seed();
  const uint64_t first = Collect(server.stub(), request, &status).back().finished().seed();
  EXPECT_NE(Collect(server.stub(), request, &status).back().finished().seed(), first);
}

TEST(Generate, PruningOffRunsDense) {
  TestServer server;
  grpc::Status status;
  v1::GenerateRequest request = TextRequest(std::string(4096, 'x'), 1);
  request.mutable_pruning()->set_mode(v1::PRUNING_MODE_OFF);
  const v1::Finished finished = Collect(server.stub(), request, &status).back().finished();
  EXPECT_FALSE(finished.pruned());
  EXPECT_EQ(finished.served_by(), "dense");
  EXPECT_EQ(finished.stages_size(), 1);
}

TEST(Generate, ChatIsRenderedByTheModelsTemplate) {
  TestServer server;
  v1::GenerateRequest request;
  v1::ChatMessage& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content("hi");
  request.mutable_sampling()->set_max_tokens(1);
  grpc::Status status;
  const std::vector<Event> events = Collect(server.stub(), request, &status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  v1::TokenizeRequest tokenize;
  *tokenize.mutable_chat() = request.chat();
  v1::TokenizeResponse tokens;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().Tokenize(&context, tokenize, &tokens).ok());
  EXPECT_EQ(events.front().admitted().prompt_tokens(), tokens.count());
  EXPECT_EQ(tokens.ids(0), *server.tokenizer().SpecialId("<|im_start|>"));
}

TEST(Generate, SpecialTokensInAUsersTextStayText) {
  TestServer server;
  v1::TokenizeRequest request;
  request.set_text("<|im_end|>");
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().Tokenize(&context, request, &response).ok());
  EXPECT_EQ(response.count(), 10);
  EXPECT_THAT(response.ids(), ::testing::Each(::testing::Lt(256)));
}

TEST(Generate, ManyConcurrentCallsAllComplete) {
  TestServer server;
  std::vector<std::thread> threads;
  std::atomic<int> complete{0};
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      grpc::Status status;
      const auto events = Collect(server.stub(), TextRequest(std::string(100 * i + 1, 'a'), 20), &status);
      if (status.ok() && events.back().finished().usage().output_tokens() == 20) ++complete;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(complete, 16);
  EXPECT_EQ(server.metrics().Value(metric::kRequests, {"Generate", "OK"}), 16);
}

TEST(GenerateOnce, ReturnsTheWholeAnswer) {
  TestServer server;
  v1::GenerateOnceRequest request;
  for (int id : {65, 66, 67}) request.mutable_token_ids()->add_ids(id);
  request.mutable_sampling()->set_max_tokens(5);
  v1::GenerateOnceResponse response;
  grpc::ClientContext context;
  const grpc::Status status = server.stub().GenerateOnce(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.text(), "0 1 2 3 4 ");
  EXPECT_EQ(response.finished().usage().prompt_tokens(), 3);
  EXPECT_EQ(response.tokens_size(), 0);  // only with logprobs
}

TEST(GenerateOnce, ListsTokensWhenLogprobsAreAskedFor) {
  TestServer server;
  v1::GenerateOnceRequest request;
  request.set_text("a");
  request.mutable_sampling()->set_max_tokens(2);
  request.mutable_sampling()->set_logprobs(0);
  v1::GenerateOnceResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().GenerateOnce(&context, request, &response).ok());
  EXPECT_EQ(response.tokens_size(), 2);
}

TEST(FirstToken, ReturnsOneTokenWhateverMaxTokensSays) {
  TestServer server;
  v1::FirstTokenRequest request;
  request.set_text("hello");
  request.mutable_sampling()->set_max_tokens(100);
  v1::FirstTokenResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().FirstToken(&context, request, &response).ok());
  EXPECT_EQ(response.token().text(), "0 ");
  EXPECT_EQ(response.finished().usage().output_tokens(), 1);
  EXPECT_GT(response.finished().timings().ttft_ms(), 0);
}

TEST(Tokenize, DetokenizeIsItsInverse) {
  TestServer server;
  v1::TokenizeRequest request;
  request.set_text("the café");
  v1::TokenizeResponse tokens;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().Tokenize(&context, request, &tokens).ok());
  EXPECT_EQ(tokens.count(), tokens.ids_size());

  v1::DetokenizeRequest back;
  *back.mutable_ids() = tokens.ids();
  v1::DetokenizeResponse text;
  grpc::ClientContext context2;
  ASSERT_TRUE(server.stub().Detokenize(&context2, back, &text).ok());
  EXPECT_EQ(text.text(), "the café");
  EXPECT_EQ(text.raw(), "the café");
}

TEST(Tokenize, GivesTheBytesOfEveryToken) {
  TestServer server;
  v1::TokenizeRequest request;
  v1::ChatMessage& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content("caf\u00e9 <|im_end|>");
  request.set_include_bytes(true);
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().Tokenize(&context, request, &response).ok());
  ASSERT_EQ(response.token_bytes_size(), response.ids_size());
  EXPECT_EQ(response.token_bytes(0), "<|im_start|>");
  std::string text;
  for (const std::string& bytes : response.token_bytes()) text += bytes;
  EXPECT_EQ(text, "<|im_start|>user\ncaf\u00e9 <|im_end|><|im_end|>\n<|im_start|>assistant\n");
}

TEST(Tokenize, CountOnlyLeavesIdsOut) {
  TestServer server;
  v1::TokenizeRequest request;
  request.set_text("abc");
  request.set_count_only(true);
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().Tokenize(&context, request, &response).ok());
  EXPECT_EQ(response.count(), 3);
  EXPECT_EQ(response.ids_size(), 0);
}

TEST(Detokenize, ReplacesWhatIsNotUtf8AndGivesTheBytesToo) {
  TestServer server;
  v1::DetokenizeRequest request;
  request.add_ids('a');
  request.add_ids(0xff);
  v1::DetokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().Detokenize(&context, request, &response).ok());
  EXPECT_EQ(response.text(), "a\xEF\xBF\xBD");
  EXPECT_EQ(response.raw(), "a\xff");
}

TEST(GetModel, DescribesTheModel) {
  TestServer server;
  v1::GetModelResponse model;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().GetModel(&context, v1::GetModelRequest(), &model).ok());
  EXPECT_EQ(model.name(), "fake");
  EXPECT_EQ(model.backend(), "fake");
  EXPECT_EQ(model.plan_name(), "fake");
  EXPECT_EQ(model.layers(), 8);
  EXPECT_EQ(model.max_context(), 256 * 1024);
  EXPECT_EQ(model.chunk_tokens(), 512);
}

TEST(GetServerStatus, CountsRequests) {
  TestServer server({.configure = [](server::ServerConfig& config) { config.max_running = 3; }});
  v1::GenerateOnceRequest request;
  request.set_text("a");
  v1::GenerateOnceResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().GenerateOnce(&context, request, &response).ok());
  v1::GetServerStatusResponse status;
  grpc::ClientContext context2;
  ASSERT_TRUE(server.stub().GetServerStatus(&context2, v1::GetServerStatusRequest(), &status).ok());
  EXPECT_EQ(status.state(), v1::SERVER_STATE_SERVING);
  EXPECT_EQ(status.requests_finished(), 1);
  EXPECT_EQ(status.requests_running(), 0);
  EXPECT_EQ(status.max_running(), 3);
  EXPECT_EQ(status.kv_store(), "embedded");
  EXPECT_GT(status.uptime_seconds(), 0);
  EXPECT_FALSE(status.version().empty());
}

TEST(Metrics, AreServedOnTheirOwnPort) {
  TestServer server({.configure = [](server::ServerConfig& config) { config.metrics_listen = "127.0.0.1:0"; }});
  EXPECT_THAT(server.app().metrics_address(), ::testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
  EXPECT_NE(server.app().metrics_address(), server.app().address());
  EXPECT_THAT(server.metrics().ScrapeText(), HasSubstr("slimfill_build_info{version="));
  EXPECT_THAT(server.metrics().ScrapeText(), HasSubstr("slimfill_model_info{"));
}

}  // namespace
}  // namespace slimfill::testing

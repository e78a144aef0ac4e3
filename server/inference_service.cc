#include "server/inference_service.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "engine/model/utf8.h"
#include "grpcpp/support/server_callback.h"
#include "server/convert.h"
#include "server/generation.h"
#include "slimfill/v1/inference.grpc.pb.h"

namespace slimfill::server {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

// Methods with raw messages: see call.h.
using RawMethods =
    v1::InferenceService::WithRawCallbackMethod_Generate<v1::InferenceService::WithRawCallbackMethod_GenerateOnce<
        v1::InferenceService::WithRawCallbackMethod_FirstToken<v1::InferenceService::WithRawCallbackMethod_Tokenize<
            v1::InferenceService::WithRawCallbackMethod_Detokenize<v1::InferenceService::WithRawCallbackMethod_GetModel<
                v1::InferenceService::WithRawCallbackMethod_GetServerStatus<v1::InferenceService::Service>>>>>>>;

// A unary RPC that answers at once or after some work on the pool.
class SimpleReactor final : public ServerUnaryReactor {
 public:
  SimpleReactor(const ServiceContext& service, CallbackServerContext& context, const char* method)
      : call_(service, context, method) {}

  Call& call() { return call_; }
  void End(const absl::Status& status) { Finish(call_.End(status)); }
  void OnDone() override { delete this; }

 private:
  Call call_;
};

enum class RunOn { kThisThread, kWorkers };

// Authenticates, parses, handles, serialises. `handler`: Status(Call&, Request&&, Response&).
template <typename Request, typename Response, typename Handler>
ServerUnaryReactor* RunUnary(const ServiceContext& service, CallbackServerContext& context, const char* method,
                             const ByteBuffer& in, ByteBuffer& out, RunOn where, Handler handler) {
  auto* reactor = new SimpleReactor(service, context, method);  // deletes itself
  auto run = [reactor, &in, &out, handler] {
    const auto answer = [&]() -> absl::Status {
      SLIMFILL_RETURN_IF_ERROR(reactor->call().Authenticate().status());
      Request request;
      Response response;
      SLIMFILL_RETURN_IF_ERROR(ParseMessage(in, request));
      SLIMFILL_RETURN_IF_ERROR(handler(reactor->call(), std::move(request), response));
      out = SerializeMessage(response);
      return absl::OkStatus();
    };
    reactor->End(answer());
  };
  if (where == RunOn::kThisThread) {
    run();
  } else if (!service.workers.TryPost(static_cast<int64_t>(in.Length()), std::move(run))) {
    reactor->End(absl::ResourceExhaustedError("too many prompts wait to be tokenised: try again later"));
  }
  return reactor;
}

absl::Status Tokenize(Call& call, v1::TokenizeRequest&& request, v1::TokenizeResponse& response) {
  SLIMFILL_ASSIGN_OR_RETURN(TokenizeInput input, FromProto(std::move(request)));
  SLIMFILL_RETURN_IF_ERROR(call.CheckModel(input.model));
  SLIMFILL_ASSIGN_OR_RETURN(const TokenizedPrompt prompt, call.service().prompts.Tokenize(std::move(input.prompt)));
  response.set_count(static_cast<int64_t>(prompt.tokens.size()));
  if (!input.count_only) response.mutable_ids()->Assign(prompt.tokens.begin(), prompt.tokens.end());
  if (input.include_bytes) {
    const engine::Tokenizer& tokenizer = call.service().engine.tokenizer();
    for (const engine::TokenId token : prompt.tokens) {
      const absl::string_view bytes = tokenizer.TokenBytes(token, /*keep_special=*/true);
      response.add_token_bytes(bytes.data(), bytes.size());
    }
  }
  return absl::OkStatus();
}

absl::Status Detokenize(Call& call, v1::DetokenizeRequest&& request, v1::DetokenizeResponse& response) {
  const engine::Engine& engine = call.service().engine;
  SLIMFILL_RETURN_IF_ERROR(call.CheckModel(request.model()));
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<engine::TokenId> ids,
                            FromProto(request, engine.tokenizer().vocab_size(), engine.info().max_context));
  response.set_raw(engine.tokenizer().Decode(ids, request.keep_special()));
  std::string text = response.raw();
  response.set_text(engine::TakeUtf8(text, /*last=*/true));
  return absl::OkStatus();
}

absl::Status GetModel(Call& call, v1::GetModelRequest&& request, v1::GetModelResponse& response) {
  SLIMFILL_RETURN_IF_ERROR(call.CheckModel(request.model()));
  response = ToProto(call.service().engine.info());
  return absl::OkStatus();
}

class InferenceServiceImpl final : public RawMethods {
 public:
  InferenceServiceImpl(const ServiceContext& context, ServerFacts facts)
      : service_(context), facts_(std::move(facts)) {}

  grpc::ServerWriteReactor<ByteBuffer>* Generate(CallbackServerContext* context, const ByteBuffer* request) override {
    return StartGenerate(service_, *context, *request);
  }
  ServerUnaryReactor* GenerateOnce(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return StartGenerateOnce(service_, *context, *in, *out);
  }
  ServerUnaryReactor* FirstToken(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return StartFirstToken(service_, *context, *in, *out);
  }
  ServerUnaryReactor* Tokenize(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::TokenizeRequest, v1::TokenizeResponse>(service_, *context, "Tokenize", *in, *out,
                                                               RunOn::kWorkers, server::Tokenize);
  }
  ServerUnaryReactor* Detokenize(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::DetokenizeRequest, v1::DetokenizeResponse>(service_, *context, "Detokenize", *in, *out,
                                                                   RunOn::kWorkers, server::Detokenize);
  }
  ServerUnaryReactor* GetModel(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::GetModelRequest, v1::GetModelResponse>(service_, *context, "GetModel", *in, *out,
                                                               RunOn::kThisThread, server::GetModel);
  }
  ServerUnaryReactor* GetServerStatus(CallbackServerContext* context, const ByteBuffer* in, ByteBuffer* out) override {
    return RunUnary<v1::GetServerStatusRequest, v1::GetServerStatusResponse>(
        service_, *context, "GetServerStatus", *in, *out, RunOn::kThisThread,
        [this](Call&, v1::GetServerStatusRequest&&, v1::GetServerStatusResponse& response) {
          FillStatus(response);
          return absl::OkStatus();
        });
  }

 private:
  void FillStatus(v1::GetServerStatusResponse& out) const {
    const scheduler::Snapshot snapshot = service_.scheduler.snapshot();
    out.set_version(facts_.version);
    out.set_state(snapshot.draining ? v1::SERVER_STATE_DRAINING : v1::SERVER_STATE_SERVING);
    out.set_uptime_seconds(absl::ToDoubleSeconds(service_.clock.Now() - facts_.started));
    out.set_requests_waiting(snapshot.queued);
    out.set_requests_running(snapshot.running);
    out.set_queued_prompt_tokens(snapshot.queued_prompt_tokens);
    out.set_requests_finished(snapshot.finished);
    out.set_max_waiting(facts_.max_queue);
    out.set_max_running(facts_.max_running);
    // The engine's own count belongs to its thread; the gauge is its last word.
    out.set_kv_pages_used(static_cast<int64_t>(service_.metrics.Value(metric::kKvPagesUsed)));
    out.set_kv_pages_total(service_.engine.pages_total());
    out.set_kv_store(facts_.kv_store);
  }

  const ServiceContext& service_;
  const ServerFacts facts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(const ServiceContext& context, ServerFacts facts) {
  return std::make_unique<InferenceServiceImpl>(context, std::move(facts));
}

}  // namespace slimfill::server

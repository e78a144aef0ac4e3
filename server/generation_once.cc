// GenerateOnce and FirstToken: events are collected into one response.
#include <utility>
#include <vector>

#include "server/generation.h"

namespace slimfill::server {
namespace {

struct Collected {
  std::string text;
  std::vector<v1::Token> tokens;  // all with logprobs, else the first only
  v1::Finished finished;
  bool wants_logprobs = false;
};

grpc::ByteBuffer OnceResponse(Collected&& collected) {
  v1::GenerateOnceResponse response;
  response.set_text(std::move(collected.text));
  *response.mutable_finished() = std::move(collected.finished);
  if (collected.wants_logprobs) {
    for (v1::Token& token : collected.tokens) *response.add_tokens() = std::move(token);
  }
  return SerializeMessage(response);
}

grpc::ByteBuffer FirstTokenResponse(Collected&& collected) {
  v1::FirstTokenResponse response;
  if (!collected.tokens.empty()) *response.mutable_token() = std::move(collected.tokens.front());
  *response.mutable_finished() = std::move(collected.finished);
  return SerializeMessage(response);
}

class UnaryReactor final : public grpc::ServerUnaryReactor, public Generation {
 public:
  using Assemble = grpc::ByteBuffer (*)(Collected&& collected);

  UnaryReactor(const ServiceContext& service, grpc::CallbackServerContext& context, const char* method,
               Assemble assemble, grpc::ByteBuffer& response)
      : Generation(service, context, method), assemble_(assemble), response_(response) {}

  // The reactor lives until gRPC and the scheduler are both done with it.
  template <typename... Args>
  static UnaryReactor* Make(Args&&... args) {
    auto reactor = std::make_shared<UnaryReactor>(std::forward<Args>(args)...);
    reactor->self_ = reactor;
    return reactor.get();
  }

  // EventSink, on the scheduler's thread.
  void OnProgress(const scheduler::Progress& progress) override {}
  void OnToken(const engine::TokenEvent& token) override {
    collected_.text += token.text;
    if (wants_logprobs() || collected_.tokens.empty()) {
      collected_.tokens.push_back(ToProto(token, call().service().engine.tokenizer()));
    }
  }
  void OnFinished(const scheduler::Finished& finished) override {
    collected_.finished = ToProto(finished, seed());
    collected_.wants_logprobs = wants_logprobs();
    response_ = assemble_(std::move(collected_));
    Finish(call().End(absl::OkStatus()));
  }
  void OnFailed(const absl::Status& status) override { Finish(call().End(status)); }

  void OnCancel() override { Cancel(); }
  void OnDone() override { self_.reset(); }

 private:
  void OnAdmitted(const scheduler::Admission& admission) override {}
  void OnRefused(const absl::Status& status) override { OnFailed(status); }

  const Assemble assemble_;
  grpc::ByteBuffer& response_;
  Collected collected_;  // scheduler's thread only
  std::shared_ptr<UnaryReactor> self_;
};

}  // namespace

grpc::ServerUnaryReactor* StartGenerateOnce(const ServiceContext& service, grpc::CallbackServerContext& context,
                                            const grpc::ByteBuffer& request, grpc::ByteBuffer& response) {
  UnaryReactor* reactor = UnaryReactor::Make(service, context, "GenerateOnce", OnceResponse, response);
  reactor->Begin(request, ParseGenerateInput<v1::GenerateOnceRequest>);
  return reactor;
}

grpc::ServerUnaryReactor* StartFirstToken(const ServiceContext& service, grpc::CallbackServerContext& context,
                                          const grpc::ByteBuffer& request, grpc::ByteBuffer& response) {
  UnaryReactor* reactor = UnaryReactor::Make(service, context, "FirstToken", FirstTokenResponse, response);
  reactor->Begin(request, ParseGenerateInput<v1::FirstTokenRequest>);
  return reactor;
}

}  // namespace slimfill::server

// Generate: events become messages of a stream. The scheduler's thread never waits for a slow reader: tokens queue up
// to a bound, beyond which the request ends; of progress only the latest waits.
#include <deque>
#include <optional>
#include <utility>

#include "server/generation.h"

namespace slimfill::server {
namespace {

constexpr size_t kMaxWaitingTokens = 8192;

class GenerateReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public Generation {
 public:
  GenerateReactor(const ServiceContext& service, grpc::CallbackServerContext& context)
      : Generation(service, context, "Generate") {}

  // The reactor lives until gRPC and the scheduler are both done with it.
  static GenerateReactor* Make(const ServiceContext& service, grpc::CallbackServerContext& context) {
    auto reactor = std::make_shared<GenerateReactor>(service, context);
    reactor->self_ = reactor;
    return reactor.get();
  }

  // EventSink, on the scheduler's thread.
  void OnStarted(int64_t cached_tokens) override {
    Generation::OnStarted(cached_tokens);
    scheduler::Progress start;
    start.tokens_total = prompt_tokens();
    OnProgress(start);
  }
  void OnProgress(const scheduler::Progress& progress) override {
    {
      absl::MutexLock lock(&events_mutex_);
      progress_ = ToProto(progress, cached_tokens());
    }
    Pump();
  }
  void OnToken(const engine::TokenEvent& token) override {
    v1::GenerateResponse event;
    *event.mutable_token() = ToProto(token, call().service().engine.tokenizer());
    if (!Enqueue(std::move(event))) {
      // Not from this thread: a sink must not call the scheduler.
      call().service().workers.Post([self = shared_from_this()] { self->Cancel(); });
    }
    Pump();
  }
  void OnFinished(const scheduler::Finished& finished) override {
    {
      absl::MutexLock lock(&events_mutex_);
      if (outcome_.has_value()) return;  // tokens are missing already
      progress_.reset();
      finished_.emplace();
      *finished_->mutable_finished() = ToProto(finished, seed());
      outcome_ = absl::OkStatus();
    }
    Pump();
  }
  void OnFailed(const absl::Status& status) override {
    {
      absl::MutexLock lock(&events_mutex_);
      if (outcome_.has_value()) return;
      progress_.reset();
      outcome_ = status;
    }
    Pump();
  }

  // Reactor, on gRPC's threads.
  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&events_mutex_);
      writing_ = false;
      broken_ = broken_ || !ok;
    }
    if (!ok) Cancel();
    Pump();
  }
  void OnCancel() override { Cancel(); }
  void OnDone() override { self_.reset(); }

 private:
  void OnAdmitted(const scheduler::Admission& admission) override {
    {
      absl::MutexLock lock(&events_mutex_);
      admitted_.emplace();
      *admitted_->mutable_admitted() = ToProto(admission, prompt_tokens());
      may_write_ = true;
    }
    Pump();
  }

  void OnRefused(const absl::Status& status) override {
    {
      absl::MutexLock lock(&events_mutex_);
      outcome_ = status;
      may_write_ = true;  // nothing is there to be written
    }
    Pump();
  }

  // False, once, when the reader is too far behind.
  bool Enqueue(v1::GenerateResponse event) {
    absl::MutexLock lock(&events_mutex_);
    progress_.reset();  // a token says that the prefill is over
    if (outcome_.has_value()) return true;
    if (tokens_.size() < kMaxWaitingTokens) {
      tokens_.push_back(std::move(event));
      return true;
    }
    outcome_ =
        absl::ResourceExhaustedError("the client reads too slowly: the answer waits for it; read events as they come");
    return false;
  }

  // Starts the next write, or finishes. gRPC is called without the lock: `writing_` and `finishing_` keep others out.
  void Pump() {
    std::optional<v1::GenerateResponse> next;
    absl::Status outcome;
    {
      absl::MutexLock lock(&events_mutex_);
      if (writing_ || finishing_) return;
      next = TakeNext();
      if (next.has_value()) {
        writing_ = true;
      } else if (outcome_.has_value() && may_write_) {
        finishing_ = true;
        outcome = *outcome_;
      } else {
        return;
      }
    }
    if (next.has_value()) {
      buffer_ = SerializeMessage(*next);
      StartWrite(&buffer_);
    } else {
      Finish(call().End(outcome));
    }
  }

  std::optional<v1::GenerateResponse> TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(events_mutex_) {
    if (!may_write_ || broken_) return std::nullopt;
    if (admitted_.has_value()) return std::exchange(admitted_, std::nullopt);
    if (progress_.has_value()) {
      v1::GenerateResponse event;
      *event.mutable_progress() = *std::exchange(progress_, std::nullopt);
      return event;
    }
    if (!tokens_.empty()) {
      v1::GenerateResponse event = std::move(tokens_.front());
      tokens_.pop_front();
      return event;
    }
    return std::exchange(finished_, std::nullopt);
  }

  grpc::ByteBuffer buffer_;  // of the write under way
  std::shared_ptr<GenerateReactor> self_;

  absl::Mutex events_mutex_;
  std::optional<v1::GenerateResponse> admitted_ ABSL_GUARDED_BY(events_mutex_);
  std::optional<v1::Progress> progress_ ABSL_GUARDED_BY(events_mutex_);
  std::deque<v1::GenerateResponse> tokens_ ABSL_GUARDED_BY(events_mutex_);
  std::optional<v1::GenerateResponse> finished_ ABSL_GUARDED_BY(events_mutex_);
  std::optional<absl::Status> outcome_ ABSL_GUARDED_BY(events_mutex_);  // set once: nothing more is queued
  bool may_write_ ABSL_GUARDED_BY(events_mutex_) = false;               // whether it was admitted is known
  bool writing_ ABSL_GUARDED_BY(events_mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(events_mutex_) = false;  // the stream takes no more
  bool finishing_ ABSL_GUARDED_BY(events_mutex_) = false;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGenerate(const ServiceContext& service,
                                                          grpc::CallbackServerContext& context,
                                                          const grpc::ByteBuffer& request) {
  GenerateReactor* reactor = GenerateReactor::Make(service, context);
  reactor->Begin(request, ParseGenerateInput<v1::GenerateRequest>);
  return reactor;
}

}  // namespace slimfill::server

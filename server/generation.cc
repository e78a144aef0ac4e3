#include "server/generation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/errors.h"

namespace slimfill::server {

void Generation::Begin(const grpc::ByteBuffer& bytes, ParseInput parse) {
  const bool queued =
      call_.service().workers.TryPost(static_cast<int64_t>(bytes.Length()), [self = shared_from_this(), &bytes, parse] {
        if (absl::Status status = self->Submit(bytes, parse); !status.ok()) self->OnRefused(status);
      });
  if (!queued) OnRefused(absl::ResourceExhaustedError("too many prompts wait to be tokenised: try again later"));
}

absl::StatusOr<scheduler::Request> Generation::Prepare(const grpc::ByteBuffer& bytes, ParseInput parse) {
  const ServiceContext& service = call_.service();
  SLIMFILL_ASSIGN_OR_RETURN(std::string tenant, call_.Authenticate());
  SLIMFILL_ASSIGN_OR_RETURN(GenerateInput input, parse(bytes, service.engine.tokenizer().vocab_size()));
  SLIMFILL_RETURN_IF_ERROR(call_.CheckModel(input.model));
  SLIMFILL_ASSIGN_OR_RETURN(TokenizedPrompt prompt, service.prompts.Tokenize(std::move(input.prompt)));
  if (const auto& span = input.pruning.query_span;
      span.has_value() && span->second > static_cast<int64_t>(prompt.tokens.size())) {
    return FieldError("pruning.query_span", absl::StrCat("ends at ", span->second, ", behind the prompt's ",
                                                         prompt.tokens.size(), " tokens"));
  }

  scheduler::Request request;
  request.sequence.prompt = std::move(prompt.tokens);
  request.sequence.last_user_content = prompt.last_user_content;
  request.sequence.sampling = std::move(input.sampling);
  request.sequence.pruning = std::move(input.pruning);
  request.sequence.tenant_salt = std::move(tenant);
  request.sequence.no_store = input.no_store;
  request.arrival = call_.arrival();
  request.deadline = call_.deadline();
  request.priority = input.priority;
  request.method = call_.method();
  request.trace_id = call_.trace_id();
  return request;
}

absl::Status Generation::Submit(const grpc::ByteBuffer& bytes, ParseInput parse) {
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_) return absl::CancelledError("the client cancelled");
  }
  SLIMFILL_ASSIGN_OR_RETURN(scheduler::Request request, Prepare(bytes, parse));
  prompt_tokens_ = static_cast<int64_t>(request.sequence.prompt.size());
  seed_ = request.sequence.sampling.seed;
  wants_logprobs_ = request.sequence.sampling.logprobs >= 0;
  call_.set_logs_failure(false);
  const auto admission = call_.service().scheduler.Submit(std::move(request), shared_from_this());
  if (!admission.ok()) {
    call_.set_logs_failure(true);
    return admission.status();
  }
  bool cancelled;
  {
    absl::MutexLock lock(&mutex_);
    id_ = admission->id;
    submitted_ = true;
    cancelled = cancelled_;
  }
  if (cancelled) call_.service().scheduler.Cancel(admission->id);
  OnAdmitted(*admission);
  return absl::OkStatus();
}

void Generation::Cancel() {
  scheduler::RequestId id;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (!submitted_) return;  // Submit looks
    id = id_;
  }
  call_.service().scheduler.Cancel(id);
}

}  // namespace slimfill::server

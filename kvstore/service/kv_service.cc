#include "kvstore/service/kv_service.h"

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "kvstore/api/block_key.h"
#include "kvstore/api/transfer_metrics.h"
#include "kvstore/service/call_status.h"
#include "kvstore/service/fetch_session.h"
#include "kvstore/service/put_message.h"
#include "kvstore/service/put_session.h"

namespace slimfill::kvstore {
namespace {

// Core operations take microseconds per block; the call's own deadline is gRPC's to keep.
constexpr absl::Time kNoDeadline = absl::InfiniteFuture();
constexpr absl::Duration kMaxStreamDeadline = absl::Minutes(5);

template <typename Keys>
absl::StatusOr<std::vector<BlockKey>> ParseKeys(const Keys& bytes, const KvLimits& limits) {
  SLIMFILL_RETURN_IF_ERROR(CheckKeys(bytes.size(), limits));
  std::vector<BlockKey> keys;
  keys.reserve(bytes.size());
  for (const std::string& key : bytes) {
    SLIMFILL_ASSIGN_OR_RETURN(keys.emplace_back(), ParseKey(key, "keys"));
  }
  return keys;
}

}  // namespace

// Reads chunks until the client is done or breaks a rule; deletes itself when gRPC has let go of it.
class KvService::PutReactor final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  PutReactor(KvService& service, grpc::CallbackServerContext& context, grpc::ByteBuffer* response)
      : service_(service),
        context_(context),
        response_(response),
        session_(service.store_),
        start_(service.clock_.Now()) {
    const absl::Status status = service.Admit(context, "Put", &inside_);
    if (status.ok()) {
      StartRead(&request_);
    } else {
      End(status);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok && context_.IsCancelled()) {
      End(absl::CancelledError("the client went away"));
    } else if (!ok) {  // the client has sent everything
      v1::PutResponse response;
      session_.Finish(&response);
      const grpc::Slice written(response.SerializeAsString());
      *response_ = grpc::ByteBuffer(&written, 1);
      End(absl::OkStatus());
    } else if (const absl::Status status = Accept(); !status.ok()) {
      End(status);
    } else {
      StartRead(&request_);
    }
  }
  void OnDone() override {
    if (inside_) service_.gate_.Leave();
    delete this;
  }

 private:
  absl::Status Accept() {
    SLIMFILL_ASSIGN_OR_RETURN(const PutMessage message, PutMessage::Parse(request_));
    SLIMFILL_RETURN_IF_ERROR(session_.Accept(message));
    request_.Clear();
    return absl::OkStatus();
  }
  void End(const absl::Status& status) {
    RecordTransfer(&service_.metrics_, "put", "grpc", session_.stored_bytes(), service_.clock_.Now() - start_);
    Finish(service_.Ended("Put", status));
  }

  KvService& service_;
  grpc::CallbackServerContext& context_;
  grpc::ByteBuffer* const response_;
  grpc::ByteBuffer request_;
  PutSession session_;
  bool inside_ = false;
  const absl::Time start_;
};

class KvService::FetchReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  FetchReactor(KvService& service, grpc::CallbackServerContext& context, const grpc::ByteBuffer& request)
      : service_(service), start_(service.clock_.Now()) {
    absl::Status status = service.Admit(context, "Fetch", &inside_);
    if (status.ok()) status = Open(request);
    if (status.ok()) {
      WriteNext();
    } else {
      End(status);
    }
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      WriteNext();
    } else {
      End(absl::CancelledError("the client went away"));
    }
  }
  void OnDone() override {
    if (inside_) service_.gate_.Leave();
    delete this;
  }

 private:
  absl::Status Open(grpc::ByteBuffer request) {
    v1::FetchRequest parsed;
    if (!grpc::SerializationTraits<v1::FetchRequest>::Deserialize(&request, &parsed).ok()) {
      return absl::InvalidArgumentError("the request is not a FetchRequest: send one that is encoded as protobuf");
    }
    SLIMFILL_ASSIGN_OR_RETURN(session_, FetchSession::Create(service_.store_, parsed));
    return absl::OkStatus();
  }
  void WriteNext() {
    FetchMessage message;
    if (session_->Next(&message)) {
      response_ = Encode(message);
      StartWrite(&response_);
    } else {
      End(absl::OkStatus());
    }
  }
  void End(const absl::Status& status) {
    if (session_.has_value())
      RecordTransfer(&service_.metrics_, "fetch", "grpc", session_->sent_bytes(), service_.clock_.Now() - start_);
    Finish(service_.Ended("Fetch", status));
  }

  KvService& service_;
  std::optional<FetchSession> session_;
  grpc::ByteBuffer response_;
  bool inside_ = false;
  const absl::Time start_;
};

KvService::KvService(LocalKvStore& store, AttachTokens* tokens, const Clock& clock, Metrics& metrics, TieredStore* tier)
    : store_(store),
      tier_(tier),
      tokens_(tokens),
      clock_(clock),
      metrics_(metrics),
      epoch_(RandomNumber()),
      watchers_(store.removals()) {}

grpc::ServerUnaryReactor* KvService::MatchPrefix(grpc::CallbackServerContext* context,
                                                 const v1::MatchPrefixRequest* request,
                                                 v1::MatchPrefixResponse* response) {
  absl::StatusOr<std::vector<BlockKey>> keys = ParseKeys(request->keys(), store_.options().limits);
  if (!keys.ok()) return FinishUnary(context, "MatchPrefix", keys.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto answer = [this, reactor, response](const absl::StatusOr<PrefixMatch>& match) {
    if (match.ok()) {
      response->set_blocks(static_cast<uint32_t>(match->blocks));
      response->set_lease(match->lease);
      response->set_epoch(epoch_);
    }
    reactor->Finish(Ended("MatchPrefix", match.status()));
  };
  if (tier_ != nullptr) {
    // A call without a deadline has one far away.
    const absl::Duration left = absl::FromChrono(context->deadline()) - absl::Now();
    tier_->MatchPrefixAsync(request->session(), *std::move(keys), clock_.Now() + left, answer);
  } else {
    answer(store_.MatchPrefixIn(request->session(), *keys, kNoDeadline));
  }
  return reactor;
}

grpc::ServerUnaryReactor* KvService::OpenPrivate(grpc::CallbackServerContext* context,
                                                 const v1::OpenPrivateRequest* request,
                                                 v1::OpenPrivateResponse* response) {
  const absl::StatusOr<LeaseId> lease = store_.OpenPrivateIn(request->session(), kNoDeadline);
  if (lease.ok()) {
    response->set_lease(*lease);
    response->set_epoch(epoch_);
  }
  return FinishUnary(context, "OpenPrivate", lease.status());
}

grpc::ServerReadReactor<grpc::ByteBuffer>* KvService::Put(grpc::CallbackServerContext* context,
                                                          grpc::ByteBuffer* response) {
  return new PutReactor(*this, *context, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* KvService::Fetch(grpc::CallbackServerContext* context,
                                                             const grpc::ByteBuffer* request) {
  return new FetchReactor(*this, *context, *request);
}

grpc::ServerUnaryReactor* KvService::Renew(grpc::CallbackServerContext* context, const v1::RenewRequest* request,
                                           v1::RenewResponse*) {
  return FinishUnary(context, "Renew", store_.Renew(request->lease(), kNoDeadline));
}

grpc::ServerUnaryReactor* KvService::Release(grpc::CallbackServerContext* context, const v1::ReleaseRequest* request,
                                             v1::ReleaseResponse*) {
  store_.Release(request->lease());
  return FinishUnary(context, "Release", absl::OkStatus());
}

grpc::ServerUnaryReactor* KvService::Delete(grpc::CallbackServerContext* context, const v1::DeleteRequest* request,
                                            v1::DeleteResponse* response) {
  absl::StatusOr<std::vector<BlockKey>> keys = ParseKeys(request->keys(), store_.options().limits);
  if (!keys.ok()) return FinishUnary(context, "Delete", keys.status());
  uint32_t ordinal = 0;
  for (const absl::Status& status : store_.Delete(*keys)) {
    *response->add_statuses() = MakeItemStatus(ordinal++, status);
  }
  return FinishUnary(context, "Delete", absl::OkStatus());
}

grpc::ServerUnaryReactor* KvService::Stats(grpc::CallbackServerContext* context, const v1::StatsRequest*,
                                           v1::StatsResponse* response) {
  const absl::StatusOr<StoreStats> stats = store_.Stats(kNoDeadline);
  if (stats.ok()) {
    response->set_bytes_used(stats->bytes_used);
    response->set_bytes_limit(stats->bytes_limit);
    response->set_blocks(stats->blocks);
    response->set_leases(stats->leases);
    response->set_evictions(stats->evictions);
    response->set_hits(stats->hits);
    response->set_misses(stats->misses);
    response->set_puts(stats->puts);
    response->set_puts_refused(stats->puts_refused);
    response->set_epoch(epoch_);
  }
  return FinishUnary(context, "Stats", stats.status());
}

grpc::ServerWriteReactor<v1::WatchResponse>* KvService::Watch(grpc::CallbackServerContext*, const v1::WatchRequest*) {
  return watchers_.Open();
}

grpc::ServerUnaryReactor* KvService::Attach(grpc::CallbackServerContext* context, const v1::AttachRequest*,
                                            v1::AttachResponse* response) {
  if (tokens_ == nullptr) {
    return FinishUnary(context, "Attach",
                       absl::FailedPreconditionError("this store's memory is not shared: start it with --listen "
                                                     "unix:PATH, and connect there from the same machine"));
  }
  const absl::StatusOr<AttachTokens::Grant> grant = tokens_->Issue();
  if (grant.ok()) {
    response->set_token(grant->token.data(), grant->token.size());
    response->set_session(grant->session);
  }
  return FinishUnary(context, "Attach", grant.status());
}

absl::Status KvService::Admit(const grpc::CallbackServerContext& context, const char* method, bool* inside) {
  // A stream holds memory of the store while it is open: a client that falls silent must not keep it for ever.
  const auto latest_deadline = std::chrono::system_clock::now() + absl::ToChronoSeconds(kMaxStreamDeadline);
  if (context.deadline() > latest_deadline) {
    return absl::InvalidArgumentError(absl::StrCat(
        method, " has no deadline within ", absl::FormatDuration(kMaxStreamDeadline), ": set a deadline on the call"));
  }
  *inside = gate_.Enter();
  return *inside ? absl::OkStatus() : absl::UnavailableError("the KV store is stopping: treat the call as a miss");
}

grpc::ServerUnaryReactor* KvService::FinishUnary(grpc::CallbackServerContext* context, const char* method,
                                                 const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(Ended(method, status));
  return reactor;
}

grpc::Status KvService::Ended(const char* method, const absl::Status& status) {
  metrics_.Add(metric::kRequests, {method, absl::StatusCodeToString(status.code())});
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace slimfill::kvstore

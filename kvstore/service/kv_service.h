// slimfill.v1.KvStoreService: a thin gRPC shell over LocalKvStore. Callback reactors; nothing in them blocks, and at
// most one message per stream is under way.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/core/local_store.h"
#include "kvstore/l2/tiered_store.h"
#include "kvstore/service/attach_tokens.h"
#include "kvstore/service/call_gate.h"
#include "kvstore/service/watch_hub.h"
#include "slimfill/v1/kvstore.grpc.pb.h"

namespace slimfill::kvstore {

// Callback methods of all but Put and Fetch, whose large messages are read and made by hand (put_message.h,
// fetch_message.h).
template <typename Base>
using KvCallbackMethods =
    v1::KvStoreService::WithCallbackMethod_MatchPrefix<v1::KvStoreService::WithCallbackMethod_OpenPrivate<
        v1::KvStoreService::WithCallbackMethod_Renew<v1::KvStoreService::WithCallbackMethod_Release<
            v1::KvStoreService::WithCallbackMethod_Delete<v1::KvStoreService::WithCallbackMethod_Stats<
                v1::KvStoreService::WithCallbackMethod_Watch<v1::KvStoreService::WithCallbackMethod_Attach<Base>>>>>>>>;
template <typename Base>
using KvRawMethods =
    v1::KvStoreService::WithRawCallbackMethod_Put<v1::KvStoreService::WithRawCallbackMethod_Fetch<Base>>;

class KvService final : public KvCallbackMethods<KvRawMethods<v1::KvStoreService::Service>> {
 public:
  // `tokens`: null when no client can attach. `tier`: `store` with its L2; null when it has none. All outlive the
  // service.
  KvService(LocalKvStore& store, AttachTokens* tokens, const Clock& clock, Metrics& metrics, TieredStore* tier);

  grpc::ServerUnaryReactor* MatchPrefix(grpc::CallbackServerContext* context, const v1::MatchPrefixRequest* request,
                                        v1::MatchPrefixResponse* response) override;
  grpc::ServerUnaryReactor* OpenPrivate(grpc::CallbackServerContext* context, const v1::OpenPrivateRequest* request,
                                        v1::OpenPrivateResponse* response) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* Put(grpc::CallbackServerContext* context,
                                                 grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Fetch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context, const v1::RenewRequest* request,
                                  v1::RenewResponse* response) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context, const v1::ReleaseRequest* request,
                                    v1::ReleaseResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context, const v1::DeleteRequest* request,
                                   v1::DeleteResponse* response) override;
  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext* context, const v1::StatsRequest* request,
                                  v1::StatsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                     const v1::WatchRequest* request) override;
  grpc::ServerUnaryReactor* Attach(grpc::CallbackServerContext* context, const v1::AttachRequest* request,
                                   v1::AttachResponse* response) override;

  // Takes no new streams and waits for those under way, at most `grace`.
  void Drain(absl::Duration grace) {
    watchers_.Stop();
    gate_.CloseAndWait(grace);
  }

 private:
  class PutReactor;
  class FetchReactor;

  grpc::ServerUnaryReactor* FinishUnary(grpc::CallbackServerContext* context, const char* method,
                                        const absl::Status& status);
  // Whether a stream may begin; `inside` says whether it must leave the gate when it ends.
  absl::Status Admit(const grpc::CallbackServerContext& context, const char* method, bool* inside);
  // Counts the call and turns its status into gRPC's.
  grpc::Status Ended(const char* method, const absl::Status& status);

  LocalKvStore& store_;
  TieredStore* const tier_;
  AttachTokens* const tokens_;
  const Clock& clock_;
  Metrics& metrics_;
  const uint64_t epoch_;
  CallGate gate_;
  WatchHub watchers_;
};

}  // namespace slimfill::kvstore

#include "kvstore/client/pending_releases.h"

#include <chrono>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/grpcpp.h"

namespace slimfill::kvstore {

struct PendingReleases::State {
  absl::Mutex mutex;
  int pending ABSL_GUARDED_BY(mutex) = 0;
};

namespace {

struct Call {
  std::optional<grpc::ClientContext> context{std::in_place};
  v1::ReleaseRequest request;
  v1::ReleaseResponse response;
};

}  // namespace

PendingReleases::PendingReleases(int max_pending) : max_pending_(max_pending), state_(std::make_shared<State>()) {}

PendingReleases::~PendingReleases() {
  absl::MutexLock lock(&state_->mutex);
  auto none_pending = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) { return state_->pending == 0; };
  state_->mutex.Await(absl::Condition(&none_pending));
}

void PendingReleases::Start(v1::KvStoreService::Stub& stub, LeaseId lease, absl::Duration time,
                            std::function<void(const grpc::Status&)> done) {
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->pending == max_pending_) return;
    ++state_->pending;
  }
  auto call = std::make_shared<Call>();
  call->request.set_lease(lease);
  call->context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(time));
  stub.async()->Release(&*call->context, &call->request, &call->response,
                        [call, state = state_, done = std::move(done)](grpc::Status status) {
                          done(status);
                          // A context holds its channel. One that outlived its user here would be destroyed by this
                          // thread, and a process's last channel joins gRPC's threads, of which this is one.
                          call->context.reset();
                          absl::MutexLock lock(&state->mutex);
                          --state->pending;
                        });
}

}  // namespace slimfill::kvstore

// A real server on a free port over a fake engine, and what tests need around it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/status.h"
#include "server/app.h"
#include "slimfill/v1/inference.grpc.pb.h"
#include "tests/support/fake_engine.h"

namespace slimfill::testing {

// Stops the engine's thread after a call, and lets it go on.
class EngineGate {
 public:
  ~EngineGate() { Open(); }
  void Close() {
    absl::MutexLock lock(&mutex_);
    open_ = false;
  }
  void Open() {
    absl::MutexLock lock(&mutex_);
    open_ = true;
  }
  // Lets it go on to its next call.
  void PassOne() {
    absl::MutexLock lock(&mutex_);
    held_ = false;
  }
  // Returns once the engine's thread stands at the closed gate.
  void WaitUntilHeld() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&held_));
  }
  // On the engine's thread.
  void Pass() {
    absl::MutexLock lock(&mutex_);
    held_ = !open_;
    mutex_.Await(absl::Condition(
        +[](EngineGate* gate) { return gate->open_ || !gate->held_; }, this));
    held_ = false;
  }

 private:
  absl::Mutex mutex_;
  bool open_ ABSL_GUARDED_BY(mutex_) = true;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
};

// What to start with; the fake engine's clock is the server's.
struct TestServerOptions {
  test::FakeEngineOptions engine;
  bool with_chat_template = true;
  // Changes to the configuration, which listens on a free port and serves no metrics.
  std::function<void(server::ServerConfig&)> configure = [](server::ServerConfig&) {};
};

// The fake engine with a tiny model's tokenizer and chat template.
std::unique_ptr<engine::Engine> MakeTestEngine(FakeClock& clock, const TestServerOptions& options);

// The server's tokenizer is byte-level: a text's first token is its first byte, which is also the key of FakeScript.
class TestServer {
 public:
  explicit TestServer(TestServerOptions options = {});
  ~TestServer();

  v1::InferenceService::Stub& stub() { return *stub_; }
  std::shared_ptr<grpc::Channel> channel() { return channel_; }
  test::FakeEngine& engine() { return *engine_; }
  const engine::Tokenizer& tokenizer() const { return *tokenizer_; }
  EngineGate& gate() { return gate_; }
  FakeClock& clock() { return clock_; }
  Metrics& metrics() { return metrics_; }
  server::App& app() { return *app_; }

 private:
  EngineGate gate_;
  FakeClock clock_{absl::FromUnixSeconds(1'000'000)};
  Metrics metrics_;
  const engine::Tokenizer* tokenizer_ = nullptr;  // inside app_, as the engine
  test::FakeEngine* engine_ = nullptr;
  std::unique_ptr<server::App> app_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

// The error detail of type T in a status, or an empty message; `found` says which.
template <typename T>
T Detail(const grpc::Status& status, bool* found = nullptr) {
  google::rpc::Status rpc_status;
  T detail;
  bool has = false;
  if (rpc_status.ParseFromString(status.error_details())) {
    for (const auto& any : rpc_status.details()) has = has || any.UnpackTo(&detail);
  }
  if (found != nullptr) *found = has;
  return detail;
}

template <typename T>
bool HasDetail(const grpc::Status& status) {
  bool found = false;
  Detail<T>(status, &found);
  return found;
}

}  // namespace slimfill::testing

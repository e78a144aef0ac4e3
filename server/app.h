// The server as a whole: what is made in which order, and how it stops.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "server/config.h"

namespace slimfill::server {

inline constexpr char kVersion[] = SLIMFILL_VERSION;

// Not thread safe.
class App {
 public:
  // Starts serving `engine`. Borrows `metrics` and `clock`. An error names the flag that helps. `on_engine_failure` is
  // called on another thread when the engine's device has failed: every request ends with INTERNAL from then on, and
  // the process should end for its supervisor to start it again.
  static absl::StatusOr<std::unique_ptr<App>> Start(const ServerConfig& config, std::unique_ptr<engine::Engine> engine,
                                                    Metrics& metrics, Clock& clock,
                                                    std::function<void()> on_engine_failure = nullptr);
  ~App();  // stops without draining, unless Stop was called

  // "host:port" with the ports that were chosen; metrics_address is "" when they are off.
  const std::string& address() const;
  const std::string& metrics_address() const;

  // Readiness off, refuse new requests, let the others finish for at most `drain_timeout`, end the rest with
  // UNAVAILABLE, stop. True when all could finish.
  bool Stop(absl::Duration drain_timeout);

 private:
  struct Parts;
  explicit App(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace slimfill::server

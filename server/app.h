// The server as a whole: what is made in which order, and how it stops.
#pragma once

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
  // Starts serving `engine`. Borrows `metrics` and `clock`. An error names the flag that helps.
  static absl::StatusOr<std::unique_ptr<App>> Start(const ServerConfig& config, std::unique_ptr<engine::Engine> engine,
                                                    Metrics& metrics, Clock& clock);
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

#include "server/build_engine.h"

namespace slimfill::server {

absl::StatusOr<BuiltEngine> BuildEngine(const ServerConfig& config, Metrics& metrics, Clock& clock) {
  return absl::UnimplementedError("the engine is not part of this build yet");
}

}  // namespace slimfill::server

// What every way of moving blocks counts.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "base/metrics.h"

namespace slimfill::kvstore {

// `direction`: fetch or put; `path`: KvStore::path. `metrics` may be null.
void RecordTransfer(Metrics* metrics, const char* direction, const char* path, uint64_t bytes, absl::Duration time);

}  // namespace slimfill::kvstore

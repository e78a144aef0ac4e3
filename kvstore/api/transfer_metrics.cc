#include "kvstore/api/transfer_metrics.h"

#include "base/metric_names.h"

namespace slimfill::kvstore {

void RecordTransfer(Metrics* metrics, const char* direction, const char* path, uint64_t bytes, absl::Duration time) {
  if (metrics == nullptr) return;
  metrics->Add(metric::kKvTransferBytes, {direction, path}, static_cast<double>(bytes));
  metrics->Observe(metric::kKvTransferSeconds, absl::ToDoubleSeconds(time), {direction, path});
}

}  // namespace slimfill::kvstore

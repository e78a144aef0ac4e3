// Host memory behind Buffer, for the backends that compute on the host.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/tensor/matrix.h"

namespace slimfill::engine {

// Zeroed and 64-byte aligned. Large buffers come as huge pages where the system gives them, and cost no memory before
// they are touched. RESOURCE_EXHAUSTED when there is none.
absl::StatusOr<std::unique_ptr<Buffer>> AllocateHostBuffer(int64_t bytes);

// A buffer holding a copy of `values`.
absl::StatusOr<std::unique_ptr<Buffer>> UploadToHostBuffer(absl::Span<const float> values);

}  // namespace slimfill::engine

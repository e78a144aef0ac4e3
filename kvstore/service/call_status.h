// Between protobuf and native types, for the service's sessions.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvstore/api/kv_store.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {

// `what` names the field in the error.
absl::StatusOr<BlockKey> ParseKey(const std::string& bytes, const char* what);

v1::ItemStatus MakeItemStatus(uint32_t ordinal, const absl::Status& status);

}  // namespace slimfill::kvstore

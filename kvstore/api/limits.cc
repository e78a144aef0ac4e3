#include "kvstore/api/limits.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::kvstore {

absl::Status CallBudget::AddItem(uint64_t bytes) {
  if (++items_ > limits_.max_items) {
    return absl::InvalidArgumentError(
        absl::StrCat(call_, " has more than ", limits_.max_items, " items: split it into several calls"));
  }
  if (bytes == 0) {
    return absl::InvalidArgumentError(absl::StrCat(call_, " item ", items_ - 1, " is empty: leave it out"));
  }
  if (bytes > limits_.max_value_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(call_, " item ", items_ - 1, " has ", bytes, " bytes, the limit is ",
                                                   limits_.max_value_bytes, ": use smaller blocks"));
  }
  bytes_ += bytes;  // cannot overflow: both limits were checked
  if (bytes_ > limits_.max_call_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(call_, " moves at least ", bytes_, " bytes, the limit is ",
                                                   limits_.max_call_bytes, ": split it into several calls"));
  }
  return absl::OkStatus();
}

absl::Status CheckKeys(size_t keys, const KvLimits& limits) {
  if (keys <= limits.max_keys) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the call names ", keys, " keys, the limit is ", limits.max_keys, ": split it into several calls"));
}

absl::Status CheckPut(absl::Span<const PutItem> items, const KvLimits& limits) {
  CallBudget budget("Put", limits);
  for (const PutItem& item : items) SLIMFILL_RETURN_IF_ERROR(budget.AddItem(ValueBytes(item)));
  return absl::OkStatus();
}

absl::Status CheckFetch(absl::Span<const FetchItem> items, const KvLimits& limits) {
  CallBudget budget("Fetch", limits);
  for (const FetchItem& item : items) SLIMFILL_RETURN_IF_ERROR(budget.AddItem(item.destination.size()));
  return absl::OkStatus();
}

uint64_t ValueBytes(const PutItem& item) {
  uint64_t bytes = 0;
  for (absl::Span<const std::byte> part : item.parts) bytes += part.size();
  return bytes;
}

absl::Status DeadlineExpired() {
  return absl::DeadlineExceededError("the call's deadline passed before its work began: allow it more time");
}

}  // namespace slimfill::kvstore

#include "kvstore/service/call_status.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace slimfill::kvstore {

absl::StatusOr<BlockKey> ParseKey(const std::string& bytes, const char* what) {
  BlockKey key;
  if (bytes.size() != key.bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat(what, " has ", bytes.size(), " bytes, a block key has ",
                                                   key.bytes.size(), ": send the key's raw bytes"));
  }
  std::copy(bytes.begin(), bytes.end(), key.bytes.begin());
  return key;
}

v1::ItemStatus MakeItemStatus(uint32_t ordinal, const absl::Status& status) {
  v1::ItemStatus item;
  item.set_ordinal(ordinal);
  item.set_code(static_cast<int>(status.code()));  // absl's codes are google.rpc.Code's
  item.set_message(std::string(status.message()));
  return item;
}

}  // namespace slimfill::kvstore

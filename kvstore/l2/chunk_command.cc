#include "kvstore/l2/chunk_command.h"

#include "absl/strings/str_cat.h"
#include "kvstore/api/block_key.h"

namespace slimfill::kvstore {

std::string ChunkName(const BlockKey& key, uint32_t chunk) { return absl::StrCat("kv:{", ToHex(key), "}:", chunk); }

void Encode(const ChunkCommand& command, const ValueSealer& sealer, absl::Duration ttl, EncodedCommand* encoded) {
  const std::string name = ChunkName(command.place.key, command.place.chunk);
  encoded->before = command.asking ? FormatCommand({"ASKING"}) : "";
  encoded->has_header = false;
  encoded->payload = {};
  encoded->after.clear();
  switch (command.verb) {
    case ChunkVerb::kPeek:
      encoded->before += FormatCommand({"GETRANGE", name, "0", absl::StrCat(kChunkHeaderBytes - 1)});
      return;
    case ChunkVerb::kRead:
      encoded->before += FormatCommand({"GET", name});
      return;
    case ChunkVerb::kWrite:
      encoded->payload = sealer.Seal(command.place, command.from, &encoded->header, &encoded->sealed);
      encoded->has_header = true;
      const std::string milliseconds = absl::StrCat(absl::ToInt64Milliseconds(ttl));
      absl::StrAppend(&encoded->before, "*5\r\n$3\r\nSET\r\n$", name.size(), "\r\n", name, "\r\n$",
                      kChunkHeaderBytes + encoded->payload.size(), "\r\n");
      encoded->after = absl::StrCat("\r\n$2\r\nPX\r\n$", milliseconds.size(), "\r\n", milliseconds, "\r\n");
      return;
  }
}

}  // namespace slimfill::kvstore

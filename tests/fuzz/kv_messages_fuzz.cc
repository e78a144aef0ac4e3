// Any bytes as what the KV store, its client and its attached clients hear: the first byte chooses the message. An item
// of a fetch that is said to be OK has its checksum, which no fuzzer guesses.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "kvstore/client/fetch_assembler.h"
#include "kvstore/client/fetch_wire.h"
#include "kvstore/service/put_message.h"
#include "kvstore/shm/protocol.h"

namespace {

using namespace slimfill::kvstore;  // NOLINT: a program of one function

grpc::ByteBuffer Cut(absl::Span<const std::byte> bytes, size_t slice_bytes) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += slice_bytes) {
    const absl::Span<const std::byte> part = bytes.subspan(at, slice_bytes);
    slices.emplace_back(part.data(), part.size());
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

void ReadAsFetchResponse(absl::Span<const std::byte> bytes, size_t slice_bytes) {
  std::vector<std::byte> first(100), second(50);
  const FetchItem items[] = {{{}, 0, absl::MakeSpan(first)}, {{}, 50, absl::MakeSpan(second)}};
  FetchAssembler assembler(items);
  grpc::ByteBuffer message = Cut(bytes, slice_bytes);
  ReadFetchResponse(message, assembler).IgnoreError();
  SLIMFILL_CHECK(assembler.Finish(absl::UnavailableError("missing")).size() == 2);
}

void ReadAsPutRequest(absl::Span<const std::byte> bytes, size_t slice_bytes) {
  grpc::ByteBuffer message = Cut(bytes, slice_bytes);
  PutMessage::Parse(message).status().IgnoreError();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::Span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  const shm::Welcome slab{.file_bytes = 1 << 20, .pages = 100};
  const shm::Locate locate{.items = {{{}, 0, 100}, {{}, 65535, 2}}};
  switch (data[0] % 8) {
    case 0:
      shm::ParseHello(bytes).status().IgnoreError();
      break;
    case 1:
      shm::ParseLocate(bytes).status().IgnoreError();
      break;
    case 2:
      shm::ParsePut(bytes).status().IgnoreError();
      break;
    case 3:
      shm::ParseWelcome(bytes).status().IgnoreError();
      break;
    case 4:
      shm::ParseLocated(bytes, locate, slab).status().IgnoreError();
      break;
    case 5:
      shm::ParsePutDone(bytes, shm::Put{.items = std::vector<shm::Put::Item>(2)}).status().IgnoreError();
      break;
    case 6:
      ReadAsPutRequest(bytes, 1 + data[0] / 8);
      break;
    default:
      ReadAsFetchResponse(bytes, 1 + data[0] / 8);
  }
  return 0;
}

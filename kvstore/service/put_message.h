// A PutRequest as gRPC received it: where its bytes lie, so that they are copied once, to where they stay.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "grpcpp/support/byte_buffer.h"
#include "kvstore/wire/chunk_wire.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {

class PutMessage {
 public:
  struct Chunk {
    ChunkFields fields;
    size_t first_piece = 0, pieces = 0;
  };

  // Whatever protobuf may write; made for chunks whose fields come in the order of their numbers. INVALID_ARGUMENT when
  // it is no PutRequest. `bytes` outlives the message and stays as it is.
  static absl::StatusOr<PutMessage> Parse(grpc::ByteBuffer& bytes);

  // All but the chunks.
  const v1::PutRequest& head() const { return head_; }
  const std::vector<Chunk>& chunks() const { return chunks_; }
  absl::Span<const absl::Span<const std::byte>> DataOf(const Chunk& chunk) const {
    return absl::MakeConstSpan(pieces_).subspan(chunk.first_piece, chunk.pieces);
  }

 private:
  // False when something is not where it is expected.
  bool ReadInPlace(grpc::ByteBuffer& bytes);
  bool ReadChunk(google::protobuf::io::CodedInputStream& in);
  void TakeParsed(v1::PutRequest parsed);

  v1::PutRequest head_;  // its chunks: those of a message that was not read in place
  std::vector<Chunk> chunks_;
  std::vector<absl::Span<const std::byte>> pieces_;  // of all chunks
};

}  // namespace slimfill::kvstore

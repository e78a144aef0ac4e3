// Reads a FetchResponse as gRPC received it: protobuf's own parser would copy every block once more.
#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"
#include "kvstore/client/fetch_assembler.h"

namespace slimfill::kvstore {

// Hands the message's chunks and failures to `assembler`, in their order. DATA_LOSS when the message is malformed, when
// a chunk's fields do not come in the order of their numbers, or when the assembler finds the stream broken.
absl::Status ReadFetchResponse(grpc::ByteBuffer& message, FetchAssembler& assembler);

}  // namespace slimfill::kvstore

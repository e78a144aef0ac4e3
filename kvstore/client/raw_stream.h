// A server-streaming call whose responses come as gRPC received them, for the one thread that made it.
#pragma once

#include <memory>
#include <string>

#include "google/protobuf/message.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"

namespace slimfill::kvstore {

// Not thread safe. Finish must be called. `context` has a deadline and outlives the call.
class RawStream {
 public:
  // `method`: "/package.Service/Method".
  RawStream(grpc::GenericStub& stub, grpc::ClientContext& context, const std::string& method,
            const google::protobuf::Message& request);
  ~RawStream();

  // The next response; false when there is none: Finish says why.
  bool Read(grpc::ByteBuffer* response);
  grpc::Status Finish();

 private:
  bool Wait();  // for the operation under way; whether it succeeded

  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  bool open_ = false;
};

}  // namespace slimfill::kvstore

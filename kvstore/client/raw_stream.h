// A streaming call whose messages go as gRPC keeps them, for the one thread that made it.
#pragma once

#include <memory>
#include <string>

#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"

namespace slimfill::kvstore {

// Not thread safe. One operation is under way at a time: between its start and Wait the caller may do something else,
// while the kernel's buffers fill or empty. Finish must be called. `context` has a deadline and outlives the call.
class RawStream {
 public:
  // `method`: "/package.Service/Method". The call begins with its first message.
  RawStream(grpc::GenericStub& stub, grpc::ClientContext& context, const std::string& method);
  ~RawStream();

  // REQUIRES of all three: no operation is under way.
  void StartWrite(const grpc::ByteBuffer& message);
  void StartWriteLast(const grpc::ByteBuffer& message);
  void StartRead(grpc::ByteBuffer* message);
  // For the operation that was started; false when it failed, and then all that follow fail as well: Finish says why.
  bool Wait();
  grpc::Status Finish();  // waits for an operation under way: cancel the context where it would not end by itself

 private:
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  bool open_ = true;
  bool under_way_ = false;
};

}  // namespace slimfill::kvstore

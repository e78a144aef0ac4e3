// Reads the messages of a stream on a thread of its own, so that one is received while another is used.
#pragma once

#include <deque>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "kvstore/client/raw_stream.h"

namespace slimfill::kvstore {

// Next is for one thread.
class ReadAhead {
 public:
  // The stream is this one's until it is gone, and outlives it.
  explicit ReadAhead(RawStream& stream) : stream_(stream), thread_([this] { Run(); }) {}
  // Returns when the read under way has ended: cancel the call first where more would come.
  ~ReadAhead();

  // The next message; false when there is none.
  bool Next(grpc::ByteBuffer* message);

 private:
  static constexpr size_t kMessages = 3;  // that wait to be used

  void Run();

  RawStream& stream_;
  absl::Mutex mutex_;
  std::deque<grpc::ByteBuffer> messages_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;     // the stream
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;  // nobody wants more
  std::thread thread_;                             // last: it uses the others
};

}  // namespace slimfill::kvstore

#include "kvstore/client/raw_stream.h"

#include "base/status.h"
#include "grpcpp/impl/codegen/proto_utils.h"

namespace slimfill::kvstore {

RawStream::RawStream(grpc::GenericStub& stub, grpc::ClientContext& context, const std::string& method,
                     const google::protobuf::Message& request)
    : call_(stub.PrepareCall(&context, method, &queue_)) {
  grpc::ByteBuffer bytes;
  bool own = false;
  SLIMFILL_CHECK(grpc::SerializationTraits<google::protobuf::Message>::Serialize(request, &bytes, &own).ok());
  call_->StartCall(this);
  open_ = Wait();
  if (!open_) return;
  call_->WriteLast(bytes, grpc::WriteOptions(), this);
  open_ = Wait();
}

RawStream::~RawStream() {
  queue_.Shutdown();
  void* tag;
  bool ok;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool RawStream::Wait() {
  void* tag;
  bool ok;
  return queue_.Next(&tag, &ok) && ok;
}

bool RawStream::Read(grpc::ByteBuffer* response) {
  if (!open_) return false;
  call_->Read(response, this);
  open_ = Wait();
  return open_;
}

grpc::Status RawStream::Finish() {
  grpc::Status status;
  call_->Finish(&status, this);
  Wait();
  return status;
}

}  // namespace slimfill::kvstore

#include "kvstore/client/raw_stream.h"

namespace slimfill::kvstore {

RawStream::RawStream(grpc::GenericStub& stub, grpc::ClientContext& context, const std::string& method) {
  context.set_initial_metadata_corked(true);  // goes with the first message, so that starting is no operation
  call_ = stub.PrepareCall(&context, method, &queue_);
  call_->StartCall(this);
}

RawStream::~RawStream() {
  queue_.Shutdown();
  void* tag;
  bool ok;
  while (queue_.Next(&tag, &ok)) {
  }
}

void RawStream::StartWrite(const grpc::ByteBuffer& message) {
  under_way_ = open_;
  if (open_) call_->Write(message, this);
}

void RawStream::StartWriteLast(const grpc::ByteBuffer& message) {
  under_way_ = open_;
  if (open_) call_->WriteLast(message, grpc::WriteOptions(), this);
}

void RawStream::StartRead(grpc::ByteBuffer* message) {
  under_way_ = open_;
  if (open_) call_->Read(message, this);
}

bool RawStream::Wait() {
  if (!under_way_) return false;
  void* tag;
  open_ = queue_.Next(&tag, &open_) && open_;
  under_way_ = false;
  return open_;
}

grpc::Status RawStream::Finish() {
  Wait();
  grpc::Status status;
  call_->Finish(&status, this);
  void* tag;
  bool ok;
  queue_.Next(&tag, &ok);
  return status;
}

}  // namespace slimfill::kvstore

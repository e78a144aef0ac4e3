// The backend's beginning and end, and its memory.
#include "engine/ops/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/ops/cuda/packed_weight.h"
#include "engine/tensor/bf16.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int64_t kStagingBytes = 4 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CudaBackend::Create(const CudaOptions& options) {
  SLIMFILL_ASSIGN_OR_RETURN(DeviceInfo device, OpenDevice());
  std::unique_ptr<CudaBackend> backend(new CudaBackend(std::move(device)));
  SLIMFILL_ASSIGN_OR_RETURN(backend->gemm_, cuda::Gemm::Create(backend->compute_, backend->health_));
  SLIMFILL_ASSIGN_OR_RETURN(backend->ring_,
                            UploadRing::Create(backend->compute_, backend->health_, options.scratch_bytes / 4));
  SLIMFILL_ASSIGN_OR_RETURN(backend->transfers_, Transfers::Create(backend->compute_, backend->health_,
                                                                   options.scratch_bytes / 4, options.scratch_bytes));
  SLIMFILL_ASSIGN_OR_RETURN(backend->scratch_, AllocateOnDevice(options.scratch_bytes, backend->compute_.get()));
  SLIMFILL_ASSIGN_OR_RETURN(backend->staging_, PinnedMemory::Allocate(kStagingBytes));
  SLIMFILL_RETURN_IF_ERROR(backend->health_.status());
  return backend;
}

CudaBackend::~CudaBackend() { compute_.Synchronize(); }

std::string CudaBackend::description() const {
  return absl::StrCat("cuda, ", device_.name, ", compute capability ", device_.major, ".", device_.minor, ", ",
                      device_.memory_bytes >> 20, " MiB");
}

// A page or row may still be on its way to or from the host when the request that owned it ends.
BeforeFree CudaBackend::BeforeFreeing() {
  return [this](const MemoryRange& range) { transfers_->BeforeWrite(range); };
}

absl::StatusOr<std::unique_ptr<Buffer>> CudaBackend::Allocate(int64_t bytes) {
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, AllocateOnDevice(bytes, compute_.get(), BeforeFreeing()));
  transfers_->BeforeWrite(MemoryRange(buffer->data(), bytes));
  Check(cudaMemsetAsync(buffer->data(), 0, bytes, compute_.get()), "zeroing memory");
  return buffer;
}

absl::StatusOr<std::unique_ptr<Buffer>> CudaBackend::Upload(absl::Span<const float> values) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(float));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, AllocateOnDevice(bytes, compute_.get(), BeforeFreeing()));
  transfers_->BeforeWrite(MemoryRange(buffer->data(), bytes));
  Check(cudaMemcpyAsync(buffer->data(), values.data(), bytes, cudaMemcpyHostToDevice, compute_.get()), "uploading");
  return buffer;
}

int64_t CudaBackend::KvPageBytes(const AttentionShape& shape) const {
  return 2 * kBlockTokens * DTypeBytes(DType::kBF16) * shape.kv_cols();
}

void CudaBackend::ReadPage(const std::byte* page, absl::Span<std::byte> host) {
  const absl::Span<const std::byte> source(page, host.size());
  transfers_->BeginRead({source}, host)->Wait().IgnoreError();  // Health() has it
}

std::unique_ptr<PendingRead> CudaBackend::BeginRead(absl::Span<const absl::Span<const std::byte>> sources,
                                                    absl::Span<std::byte> host) {
  return transfers_->BeginRead(sources, host);
}

void CudaBackend::WritePage(absl::Span<const std::byte> host, std::byte* page) { transfers_->Write(host, page); }

void CudaBackend::ZeroPage(std::byte* page, int64_t bytes) {
  transfers_->BeforeWrite(MemoryRange(page, bytes));
  Check(cudaMemsetAsync(page, 0, bytes, compute_.get()), "zeroing a page");
}

absl::StatusOr<std::unique_ptr<PackedWeight>> CudaBackend::PackWeight(const WeightMatrix& weight) {
  return cuda::PackWeight(weight, *ring_, compute_, health_);
}

absl::Status CudaBackend::Finish() {
  compute_.Synchronize();
  transfers_->ComputeSynchronized();
  return health_.status();
}

void CudaBackend::Download(const void* device, int64_t bytes, void* host) {
  for (int64_t done = 0; done < bytes;) {
    const int64_t piece = std::min(bytes - done, staging_->bytes());
    Check(cudaMemcpyAsync(staging_->data(), static_cast<const std::byte*>(device) + done, piece, cudaMemcpyDeviceToHost,
                          compute_.get()),
          "reading results");
    compute_.Synchronize();
    transfers_->ComputeSynchronized();
    std::memcpy(static_cast<std::byte*>(host) + done, staging_->data(), piece);
    done += piece;
  }
}

void CudaBackend::ReadRows(ConstMatrix src, absl::Span<float> host) {
  BeforeRead(src);
  const int64_t row_bytes = src.cols * DTypeBytes(src.dtype), stride_bytes = src.stride * DTypeBytes(src.dtype);
  const int64_t most = staging_->bytes() / std::max<int64_t>(row_bytes, 1);
  float* to = host.data();
  if (most == 0) {  // a row longer than the staging memory: f32 logits of a huge vocabulary
    SLIMFILL_CHECK(src.dtype == DType::kF32);
    for (int64_t i = 0; i < src.rows; ++i) Download(src.Rows(i, 1).data, row_bytes, to + i * src.cols);
    return;
  }
  for (int64_t row = 0; row < src.rows; row += most) {
    const int64_t rows = std::min(most, src.rows - row);
    Check(cudaMemcpy2DAsync(staging_->data(), row_bytes, src.Rows(row, rows).data, stride_bytes, row_bytes, rows,
                            cudaMemcpyDeviceToHost, compute_.get()),
          "reading rows");
    compute_.Synchronize();
    transfers_->ComputeSynchronized();
    if (src.dtype == DType::kF32) {
      std::memcpy(to, staging_->data(), rows * row_bytes);
    } else {
      const auto* from = reinterpret_cast<const uint16_t*>(staging_->data());
      std::transform(from, from + rows * src.cols, to, Bf16ToFloat);
    }
    to += rows * src.cols;
  }
}

int64_t CudaBackend::RowsThatFit(int64_t row_bytes) const {
  return std::max<int64_t>(1, scratch_->bytes() / std::max<int64_t>(row_bytes, 1));
}

bool CudaBackend::Fits(int64_t argument_bytes, const char* what) {
  if (argument_bytes <= ring_->max_piece_bytes()) return true;
  health_.Fail(absl::InternalError(absl::StrCat(what, " needs ", argument_bytes, " bytes of arguments, the limit is ",
                                                ring_->max_piece_bytes(), ": lower --max-context or --max-running")));
  return false;
}

}  // namespace slimfill::engine::cuda

// The backend on an NVIDIA GPU: cuBLASLt for matrix products, our own kernels for the rest. Activations, weights and KV
// pages are bf16, residuals and sums f32. Everything is queued on one compute stream; pages go in and out beside it
// (transfers.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/ops/backend.h"
#include "engine/ops/cuda/device.h"
#include "engine/ops/cuda/gemm.h"
#include "engine/ops/cuda/kernels/kernels.h"
#include "engine/ops/cuda/transfers.h"
#include "engine/ops/cuda/upload_ring.h"

namespace slimfill::engine::cuda {

struct CudaOptions {
  // Device memory of ops that need room: they work in pieces that fit. Beside it pinned host memory: as much for pages
  // on their way to the host, a quarter each for pages on their way to the device and for ops' arguments.
  int64_t scratch_bytes = int64_t{128} << 20;
};

class CudaBackend : public Backend {
 public:
  // FAILED_PRECONDITION without a usable GPU, RESOURCE_EXHAUSTED when its memory is taken; each says what to do.
  static absl::StatusOr<std::unique_ptr<Backend>> Create(const CudaOptions& options);
  ~CudaBackend() override;

  const char* name() const override { return "cuda"; }
  std::string description() const override;
  DType activation_dtype() const override { return DType::kBF16; }
  std::string kv_layout() const override { return "bf16 [kv_heads, {k, v}, 64, head_dim]"; }
  std::string arithmetic() const override { return "bf16"; }
  absl::Status Health() const override { return health_.status(); }
  absl::Status Finish() override;

  int64_t FreeBytes() const override { return FreeDeviceBytes(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<Buffer>> Upload(absl::Span<const float> values) override;
  int64_t KvPageBytes(const AttentionShape& shape) const override;
  void ReadPage(const std::byte* page, absl::Span<std::byte> host) override;
  std::unique_ptr<PendingRead> BeginRead(absl::Span<const absl::Span<const std::byte>> sources,
                                         absl::Span<std::byte> host) override;
  void WritePage(absl::Span<const std::byte> host, std::byte* page) override;
  void ZeroPage(std::byte* page, int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<PackedWeight>> PackWeight(const WeightMatrix& weight) override;

  void EmbedRows(const WeightMatrix& table, absl::Span<const TokenId> tokens, Matrix out) override;
  void RmsNorm(ConstMatrix x, const Buffer& weight, float epsilon, Matrix out) override;
  void Gemm(ConstMatrix x, const PackedWeight& weight, const Buffer* bias, GemmMode mode, Matrix out) override;
  void SwiGluFfn(ConstMatrix x, const PackedWeight& gate_up, const PackedWeight& down, Matrix residual) override;
  void NormHeads(Matrix qkv, const Buffer& q_weight, const Buffer& k_weight, float epsilon,
                 const AttentionShape& shape) override;
  void RopeAppendKv(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin, const AttentionShape& shape,
                    KvLayerView kv) override;
  void RopeAppendKvDecode(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                          const AttentionShape& shape, absl::Span<const KvLayerView> kv) override;
  void Attention(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape, KvLayerView kv,
                 Matrix out) override;
  void AttentionDecode(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                       absl::Span<const KvLayerView> kv, Matrix out) override;
  void GatherRows(ConstMatrix src, absl::Span<const int32_t> rows, Matrix dst) override;
  void ReadRows(ConstMatrix src, absl::Span<float> host) override;
  void ArgmaxRows(ConstMatrix src, absl::Span<TokenId> best) override;
  bool rows_in_host_memory() const override { return false; }
  RowTops TopRows(ConstMatrix src, int64_t count, absl::Span<const float> temperatures) override;
  void AttentionMass(const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                     absl::Span<float> out) override;
  void LookBack(ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
                const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out) override;
  void UnitMeanKeys(int32_t end_position, const AttentionShape& shape, KvLayerView kv, absl::Span<float> out) override;

 private:
  explicit CudaBackend(DeviceInfo device) : device_(std::move(device)), compute_(health_) {}

  BeforeFree BeforeFreeing();
  void BeforeRead(ConstMatrix m) { transfers_->BeforeRead(MemoryRange(m)); }
  void BeforeWrite(Matrix m) { transfers_->BeforeWrite(MemoryRange(m)); }
  // The pages' table, uploaded (not sent yet), after waiting for what is on its way into them.
  const KvPage* PutPages(KvLayerView kv, const AttentionShape& shape);
  void RopeAppend(Matrix qkv, absl::Span<const int32_t> positions, const std::vector<std::byte*>& pages,
                  const Buffer& cos_sin, const AttentionShape& shape);
  // Makes the list of `rows` on the device: they go up as a bit each, from the first to the last. Returns how many of
  // them the list has: so many as one op may upload the bits of, at least one.
  int64_t ListRows(absl::Span<const int32_t> rows, int32_t* list);
  int64_t DecodeRowsThatFit(const AttentionShape& shape, absl::Span<const KvLayerView> kv) const;
  void DecodeSomeRows(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                      absl::Span<const KvLayerView> kv, Matrix out);
  void MassOfHeads(const MassQuery& query, absl::Span<const int> heads, const AttentionShape& shape, KvLayerView kv,
                   absl::Span<float> out);
  // Rows of so many bytes that fit the scratch memory, at least one.
  int64_t RowsThatFit(int64_t row_bytes) const;
  // Device memory to the host; returns when it is there.
  void Download(const void* device, int64_t bytes, void* host);
  void Check(cudaError_t error, const char* what) { health_.Check(error, what); }
  // Whether the op's arguments can be uploaded at once; otherwise the device counts as failed.
  bool Fits(int64_t argument_bytes, const char* what);

  class Health health_;
  const DeviceInfo device_;
  Stream compute_;
  std::unique_ptr<class Gemm> gemm_;
  std::unique_ptr<UploadRing> ring_;
  std::unique_ptr<Transfers> transfers_;
  std::unique_ptr<Buffer> scratch_;
  std::unique_ptr<PinnedMemory> staging_;  // of Download and ReadRows
};

}  // namespace slimfill::engine::cuda

// The CPU backend: bf16 activations, weights (or 8-bit integers) and KV pages, f32 residuals and accumulation; kernels
// chosen for the machine at run time. All parallelism is one pool with dynamic work items.
#pragma once

#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"
#include "engine/ops/cpu/isa.h"

namespace slimfill::engine {

// What linear layers multiply: weights and activations rounded to bf16, or to 8-bit integers with a
// scale for every 64 columns: faster, in half the memory, less exact.
enum class LinearType { kBf16, kInt8 };

class CpuBackend : public Backend {
 public:
  CpuBackend(cpu::IsaLevel isa, LinearType linear, int threads)
      : isa_(isa),
        linear_(linear),
        pool_(threads),
        scratch_(threads),
        context_{*isa.kernels, *isa.int8, pool_, scratch_} {}

  const char* name() const override { return "cpu"; }
  std::string description() const override;
  DType activation_dtype() const override { return DType::kBF16; }
  std::string kv_layout() const override;
  std::string arithmetic() const override;

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<Buffer>> Upload(absl::Span<const float> values) override;
  int64_t KvPageBytes(const AttentionShape& shape) const override;
  void ReadPage(const std::byte* page, absl::Span<std::byte> host) override;
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
  void Attention(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape, KvLayerView kv,
                 Matrix out) override;
  void AttentionDecode(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                       absl::Span<const KvLayerView> kv, Matrix out) override;
  void GatherRows(ConstMatrix src, absl::Span<const int32_t> rows, Matrix dst) override;
  void ReadRows(ConstMatrix src, absl::Span<float> host) override;
  void AttentionMass(const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                     absl::Span<float> out) override;
  void LookBack(ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
                const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out) override;
  void UnitMeanKeys(int32_t end_position, const AttentionShape& shape, KvLayerView kv, absl::Span<float> out) override;

 private:
  const cpu::IsaLevel isa_;
  const LinearType linear_;  // all weights are of this one
  ThreadPool pool_;
  cpu::Scratch scratch_;
  const cpu::Context context_;
};

}  // namespace slimfill::engine

// The truth the other backends are compared with: plain f32, one thread, the formula written out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/ops/backend.h"

namespace slimfill::engine {

// Pages are f32 [kv_head][k|v][slot][head_dim].
class RefBackend : public Backend {
 public:
  const char* name() const override { return "ref"; }
  std::string description() const override { return "reference, f32, 1 thread"; }
  DType activation_dtype() const override { return DType::kF32; }
  std::string kv_layout() const override { return "f32 kv_head,kv,slot,dim"; }
  std::string arithmetic() const override { return "f32"; }

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
  void UnitMeanKeys(int32_t end_position, const AttentionShape& shape, KvLayerView kv, absl::Span<float> out) override;

 private:
  std::vector<float> scratch_;  // one row of the op that runs
};

}  // namespace slimfill::engine

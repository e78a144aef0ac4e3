#include "engine/ops/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/ops/cpu/attention.h"
#include "engine/ops/cpu/gemm.h"
#include "engine/ops/cpu/gemm_int8.h"
#include "engine/ops/cpu/packed_weight.h"
#include "engine/ops/cpu/packed_weight_int8.h"
#include "engine/ops/cpu/page.h"
#include "engine/ops/cpu/scores.h"
#include "engine/ops/host_buffer.h"

namespace slimfill::engine {
namespace {

using cpu::Bf16Row;
using cpu::CpuWeight;
using cpu::F32Row;
using cpu::Int8Weight;

constexpr int64_t kItemElements = 1 << 15;  // of an elementwise work item: waking a worker costs as much as a few of it

int64_t RowsPerItem(int64_t cols) { return std::max<int64_t>(1, kItemElements / std::max<int64_t>(1, cols)); }

// Writes one row's keys and values, [kv_heads, head_dim] each, into their slot.
void AppendKv(const uint16_t* k, const uint16_t* v, const AttentionShape& shape, const KvBlock& block, int slot) {
  for (int head = 0; head < shape.kv_heads; ++head) {
    uint16_t* keys = cpu::PageKeys(block, shape, head) + slot * 2;
    uint16_t* values = cpu::PageValues(block, shape, head) + (slot / 2) * shape.head_dim * 2 + slot % 2;
    for (int d = 0; d < shape.head_dim; d += 2) {
      std::memcpy(keys + d * kBlockTokens, k + head * shape.head_dim + d, 2 * sizeof(uint16_t));
    }
    for (int d = 0; d < shape.head_dim; ++d) values[2 * d] = v[head * shape.head_dim + d];
  }
}

}  // namespace

std::string CpuBackend::description() const {
  const std::string linear = linear_ == LinearType::kInt8 ? absl::StrCat("int8 by ", isa_.int8->name, ", ") : "";
  return absl::StrCat("cpu, ", isa_.name, ", ", linear, pool_.threads(), pool_.threads() == 1 ? " thread" : " threads");
}

std::string CpuBackend::kv_layout() const { return cpu::kPageLayout; }

std::string CpuBackend::arithmetic() const {
  return linear_ == LinearType::kInt8 ? absl::StrCat("int8 by ", cpu::kGroupCols) : "bf16";
}

absl::StatusOr<std::unique_ptr<Buffer>> CpuBackend::Allocate(int64_t bytes) { return AllocateHostBuffer(bytes); }

absl::StatusOr<std::unique_ptr<Buffer>> CpuBackend::Upload(absl::Span<const float> values) {
  return UploadToHostBuffer(values);
}

int64_t CpuBackend::KvPageBytes(const AttentionShape& shape) const {
  return static_cast<int64_t>(2 * kBlockTokens * sizeof(uint16_t)) * shape.kv_cols();
}

void CpuBackend::ReadPage(const std::byte* page, absl::Span<std::byte> host) {
  std::memcpy(host.data(), page, host.size());
}

void CpuBackend::WritePage(absl::Span<const std::byte> host, std::byte* page) {
  std::memcpy(page, host.data(), host.size());
}

void CpuBackend::ZeroPage(std::byte* page, int64_t bytes) { std::memset(page, 0, bytes); }

absl::StatusOr<std::unique_ptr<PackedWeight>> CpuBackend::PackWeight(const WeightMatrix& weight) {
  if (linear_ == LinearType::kInt8) return cpu::PackInt8Weight(context_, weight);
  return cpu::PackCpuWeight(context_, weight);
}

void CpuBackend::EmbedRows(const WeightMatrix& table, absl::Span<const TokenId> tokens, Matrix out) {
  ForRows(context_, static_cast<int64_t>(tokens.size()), RowsPerItem(out.cols), [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      table.ReadRow(tokens[i], absl::MakeSpan(F32Row(out, i), out.cols));
    }
  });
}

void CpuBackend::RmsNorm(ConstMatrix x, const Buffer& weight, float epsilon, Matrix out) {
  const auto* w = static_cast<const float*>(weight.data());
  ForRows(context_, x.rows, RowsPerItem(x.cols), [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      context_.kernels.rms_norm(F32Row(x, i), w, x.cols, epsilon, Bf16Row(out, i));
    }
  });
}

void CpuBackend::Gemm(ConstMatrix x, const PackedWeight& weight, const Buffer* bias, GemmMode mode, Matrix out) {
  const float* values = bias == nullptr ? nullptr : static_cast<const float*>(bias->data());
  if (linear_ == LinearType::kInt8) {
    cpu::Int8Gemm(context_, x, static_cast<const Int8Weight&>(weight), values, mode, out);
  } else {
    cpu::Gemm(context_, x, static_cast<const CpuWeight&>(weight), values, mode, out);
  }
}

void CpuBackend::SwiGluFfn(ConstMatrix x, const PackedWeight& gate_up, const PackedWeight& down, Matrix residual) {
  if (linear_ == LinearType::kInt8) {
    cpu::Int8SwiGluFfn(context_, x, static_cast<const Int8Weight&>(gate_up), static_cast<const Int8Weight&>(down),
                       residual);
  } else {
    cpu::SwiGluFfn(context_, x, static_cast<const CpuWeight&>(gate_up), static_cast<const CpuWeight&>(down), residual);
  }
}

void CpuBackend::NormHeads(Matrix qkv, const Buffer& q_weight, const Buffer& k_weight, float epsilon,
                           const AttentionShape& shape) {
  const auto* q = static_cast<const float*>(q_weight.data());
  const auto* k = static_cast<const float*>(k_weight.data());
  ForRows(context_, qkv.rows, RowsPerItem(qkv.cols), [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      uint16_t* row = Bf16Row(qkv, i);
      context_.kernels.norm_heads(row, shape.heads, shape.head_dim, q, epsilon);
      context_.kernels.norm_heads(row + shape.q_cols(), shape.kv_heads, shape.head_dim, k, epsilon);
    }
  });
}

void CpuBackend::RopeAppendKv(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                              const AttentionShape& shape, KvLayerView kv) {
  const auto* table = static_cast<const float*>(cos_sin.data());
  ForRows(context_, static_cast<int64_t>(positions.size()), RowsPerItem(qkv.cols),
          [&](int64_t first, int64_t count, int) {
            for (int64_t i = first; i < first + count; ++i) {
              uint16_t* row = Bf16Row(qkv, i);
              context_.kernels.rope(row, shape.heads + shape.kv_heads, shape.head_dim,
                                    table + int64_t{positions[i]} * shape.head_dim);
              const int32_t block = positions[i] / kBlockTokens;
              const auto it = std::lower_bound(kv.begin(), kv.end(), block,
                                               [](const KvBlock& held, int32_t wanted) { return held.block < wanted; });
              SLIMFILL_CHECK(it != kv.end() && it->block == block);
              const uint16_t* k = row + shape.q_cols();
              AppendKv(k, k + shape.kv_cols(), shape, *it, positions[i] % kBlockTokens);
            }
          });
}

void CpuBackend::Attention(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                           KvLayerView kv, Matrix out) {
  cpu::Attention(context_, q, positions, shape, kv, out);
}

void CpuBackend::AttentionDecode(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                                 absl::Span<const KvLayerView> kv, Matrix out) {
  cpu::AttentionDecode(context_, q, positions, shape, kv, out);
}

void CpuBackend::GatherRows(ConstMatrix src, absl::Span<const int32_t> rows, Matrix dst) {
  const auto copy = [&](int64_t i) { std::memmove(F32Row(dst, i), F32Row(src, rows[i]), src.cols * sizeof(float)); };
  if (dst.data == src.data) {  // compaction: a row may be overwritten only after it has moved
    for (size_t i = 0; i < rows.size(); ++i) copy(i);
    return;
  }
  ForRows(context_, static_cast<int64_t>(rows.size()), RowsPerItem(src.cols), [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) copy(i);
  });
}

void CpuBackend::ReadRows(ConstMatrix src, absl::Span<float> host) {
  ForRows(context_, src.rows, RowsPerItem(src.cols), [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      float* out = host.data() + i * src.cols;
      if (src.dtype == DType::kBF16) {
        context_.kernels.bf16_to_f32(Bf16Row(src, i), src.cols, out);
      } else {
        std::memcpy(out, F32Row(src, i), src.cols * sizeof(float));
      }
    }
  });
}

void CpuBackend::AttentionMass(const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                               absl::Span<float> out) {
  cpu::AttentionMass(context_, query, shape, kv, out);
}

void CpuBackend::LookBack(ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
                          const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out) {
  cpu::LookBack(context_, q, positions, heads, shape, kv, out);
}

void CpuBackend::UnitMeanKeys(int32_t end_position, const AttentionShape& shape, KvLayerView kv,
                              absl::Span<float> out) {
  cpu::UnitMeanKeys(context_, end_position, shape, kv, out);
}

}  // namespace slimfill::engine

#include "engine/ops/cpu/scores.h"

#include <algorithm>
#include <cmath>

#include "engine/ops/cpu/page.h"
#include "engine/tensor/bf16.h"

namespace slimfill::engine::cpu {
namespace {

constexpr int64_t kMassRows = 8;       // query rows of a work item
constexpr int64_t kLookRows = 16;      // the same when all of a prompt's rows look back: a tile of AMX
constexpr float kHidden = -1e30f;      // a hidden key's score
constexpr int64_t kPagesPerItem = 16;  // unit means

// Slots of page `b` that a row sees.
int VisibleSlots(const MassQuery& query, KvLayerView kv, size_t b, int64_t row) {
  if (!query.excluded.empty() && query.excluded[b] != 0) return 0;
  return SlotsBelow(kv[b], std::min<int64_t>(int64_t{query.positions[row]} + 1, query.end_position));
}

// Unit masses of `rows` query rows of one head, their maximum over rows (or their sum over all rows' number, for the
// mean) added into out [units].
void MassOfRows(const Context& context, const MassQuery& query, const AttentionShape& shape, KvLayerView kv, int head,
                int64_t first_row, int64_t rows, int worker, float* out) {
  const int64_t keys = static_cast<int64_t>(kv.size()) * kBlockTokens, units = keys / query.unit_tokens;
  auto* scores =
      static_cast<float*>(context.scratch.ForWorker(worker, (rows * (keys + shape.head_dim) + units) * sizeof(float)));
  float* q = scores + rows * keys;
  float* row_mass = q + rows * shape.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  for (int64_t r = 0; r < rows; ++r) {
    const float* source = query.q.data() + ((first_row + r) * shape.heads + head) * shape.head_dim;
    for (int d = 0; d < shape.head_dim; ++d) q[r * shape.head_dim + d] = source[d] * scale;
  }
  const int kv_head = head / (shape.heads / shape.kv_heads);
  for (size_t b = 0; b < kv.size(); ++b) {
    float* page_scores = scores + b * kBlockTokens;
    context.kernels.score_page(q, rows, shape.head_dim, PageKeys(kv[b], shape, kv_head), page_scores, keys);
    for (int64_t r = 0; r < rows; ++r) {
      float* row = page_scores + r * keys;
      std::fill(row + VisibleSlots(query, kv, b, first_row + r), row + kBlockTokens, kHidden);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    float* row = scores + r * keys;
    const float max = context.kernels.row_max(row, keys);
    if (max <= kHidden) continue;  // sees nothing
    const float sum = context.kernels.exp_sum(row, keys, 1.0f, max);
    if (!query.mean) {
      context.kernels.max_unit_sums(row, units, query.unit_tokens, 1.0f / sum, out);
      continue;
    }
    std::fill(row_mass, row_mass + units, 0.0f);
    const float weight = 1.0f / (sum * static_cast<float>(query.positions.size()));
    context.kernels.max_unit_sums(row, units, query.unit_tokens, weight, row_mass);
    for (int64_t u = 0; u < units; ++u) out[u] += row_mass[u];
  }
}

// The far unit with the most of a row's attention, from its scores with the keys up to its position; and room for the
// units' masses.
FarLook LookOfRow(const Kernels& kernels, int32_t position, float scale, float* scores, float* masses) {
  const int64_t end = position / kUnitTokens - kFarUnits + 1;  // far units: [kFirstFarUnit, end)
  if (end <= kFirstFarUnit) return {};
  const int64_t visible = int64_t{position} + 1;
  const float sum = kernels.exp_sum(scores, visible, scale, kernels.row_max(scores, visible));
  std::fill(masses, masses + end, 0.0f);
  kernels.max_unit_sums(scores, end, kUnitTokens, 1.0f / sum, masses);
  const float best = kernels.row_max(masses + kFirstFarUnit, end - kFirstFarUnit);
  if (best <= 0) return {};
  return {static_cast<int32_t>(std::find(masses + kFirstFarUnit, masses + end, best) - masses), best};
}

}  // namespace

void LookBack(const Context& context, ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
              const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out) {
  const Kernels& kernels = context.kernels;
  const int64_t tiles = (q.rows + kLookRows - 1) / kLookRows;
  const auto head_count = static_cast<int64_t>(heads.size());
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  context.pool.ParallelFor(tiles * head_count, [&](int64_t item, int worker) {
    const int64_t index = item / tiles, first = item % tiles * kLookRows;
    const int64_t rows = std::min(kLookRows, q.rows - first);
    const int head = heads[index], kv_head = head / (shape.heads / shape.kv_heads);
    const int64_t pages = positions[first + rows - 1] / kBlockTokens + 1, keys = pages * kBlockTokens;
    auto* scores = static_cast<float*>(
        context.scratch.ForWorker(worker, (rows * keys + keys / kUnitTokens) * int64_t{sizeof(float)}));
    for (int64_t page = 0; page < pages; ++page) {
      kernels.score_keys(Bf16Row(q, first) + int64_t{head} * shape.head_dim, q.stride, rows, shape.head_dim,
                         PageKeys(kv[page], shape, kv_head), scores + page * kBlockTokens, keys);
    }
    for (int64_t row = first; row < first + rows; ++row) {
      out[row * head_count + index] =
          LookOfRow(kernels, positions[row], scale, scores + (row - first) * keys, scores + rows * keys);
    }
  });
}

void AttentionMass(const Context& context, const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                   absl::Span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  if (kv.empty() || query.positions.empty() || query.heads.empty()) return;
  const int64_t rows = static_cast<int64_t>(query.positions.size());
  const int64_t tiles = (rows + kMassRows - 1) / kMassRows;
  const int64_t units = static_cast<int64_t>(kv.size()) * (kBlockTokens / query.unit_tokens);
  const int64_t items = static_cast<int64_t>(query.heads.size()) * tiles;
  auto* partial = static_cast<float*>(context.scratch.Shared(items * units * sizeof(float)));
  context.pool.ParallelFor(items, [&](int64_t item, int worker) {
    float* masses = partial + item * units;
    std::fill(masses, masses + units, 0.0f);
    const int64_t first = item % tiles * kMassRows;
    MassOfRows(context, query, shape, kv, query.heads[item / tiles], first, std::min(kMassRows, rows - first), worker,
               masses);
  });
  for (int64_t item = 0; item < items; ++item) {
    float* head_out = out.data() + item / tiles * units;
    for (int64_t u = 0; u < units; ++u) {
      const float mass = partial[item * units + u];
      head_out[u] = query.mean ? head_out[u] + mass : std::max(head_out[u], mass);
    }
  }
}

void UnitMeanKeys(const Context& context, int32_t end_position, const AttentionShape& shape, KvLayerView kv,
                  absl::Span<float> out) {
  ForRows(context, static_cast<int64_t>(kv.size()), kPagesPerItem, [&](int64_t first, int64_t count, int) {
    for (int64_t b = first; b < first + count; ++b) {
      const int slots = SlotsBelow(kv[b], end_position);
      for (int unit = 0; unit < kUnitsPerBlock; ++unit) {
        const int begin = unit * kUnitTokens;
        const int tokens = std::clamp(slots - begin, 0, kUnitTokens);
        for (int kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
          const uint16_t* keys = PageKeys(kv[b], shape, kv_head);
          float* mean = out.data() + ((b * kUnitsPerBlock + unit) * shape.kv_heads + kv_head) * shape.head_dim;
          for (int d = 0; d < shape.head_dim; ++d) {
            const uint16_t* element = keys + ((d / 2) * kBlockTokens + begin) * 2 + d % 2;
            float sum = 0;
            for (int t = 0; t < tokens; ++t) sum += Bf16ToFloat(element[2 * t]);
            mean[d] = tokens == 0 ? 0.0f : sum / static_cast<float>(tokens);
          }
        }
      }
    }
  });
}

}  // namespace slimfill::engine::cpu

#include "engine/ops/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/ops/cpu/page.h"

namespace slimfill::engine::cpu {
namespace {

// The query heads of a KV head are stacked: a position gives heads / kv_heads rows of a tile, side by side. Steps take
// kGroupPages pages from the view's start on, so a row meets the same steps in every tile.
constexpr int kTileRows = 192;     // stacked rows of a work item, about
constexpr int kSmallestTile = 24;  // the same when there is little to share out
constexpr int kItemsPerThread = 4;
constexpr int64_t kSplitPages = 16;  // decode: pages of a work item; a multiple of kGroupPages
constexpr float kNothingSeen = -1e30f;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A tile's memory in a worker's scratch.
class TileState {
 public:
  static int64_t Bytes(int rows, int head_dim) {
    return Padded(rows) * head_dim * 6 + int64_t{rows} * (kGroupKeys * 4 + 8 + kGroupPages) + 6 * 64;
  }
  TileState(void* memory, int rows, const AttentionShape& shape) : rows_(rows), head_dim_(shape.head_dim) {
    char* next = static_cast<char*>(memory);
    auto take = [&next](int64_t bytes) {
      char* taken = next;
      next += (bytes + 63) / 64 * 64;
      return taken;
    };
    scratch_ = take(int64_t{rows} * kGroupKeys * sizeof(float));
    output_ = reinterpret_cast<float*>(take(Padded(rows) * head_dim_ * sizeof(float)));
    q_ = reinterpret_cast<uint16_t*>(take(Padded(rows) * head_dim_ * sizeof(uint16_t)));
    max_ = reinterpret_cast<float*>(take(int64_t{rows} * sizeof(float)));
    sum_ = reinterpret_cast<float*>(take(int64_t{rows} * sizeof(float)));
    visible_ = reinterpret_cast<uint8_t*>(take(int64_t{rows} * kGroupPages));
    scale_ = 1.44269504f / std::sqrt(static_cast<float>(head_dim_));
    std::fill(output_, output_ + int64_t{rows} * head_dim_, 0.0f);
    std::fill(max_, max_ + rows, kNothingSeen);
    std::fill(sum_, sum_ + rows, 0.0f);
  }

  AttentionTile tile() const { return {q_, rows_, head_dim_, scale_, output_, max_, sum_, scratch_}; }
  uint16_t* q() { return q_; }
  uint8_t* visible() { return visible_; }
  const float* output(int row) const { return output_ + int64_t{row} * head_dim_; }
  float max(int row) const { return max_[row]; }
  float sum(int row) const { return sum_[row]; }

 private:
  static int64_t Padded(int rows) { return DivideUp(rows, kPaddedRows) * kPaddedRows; }

  int rows_, head_dim_;
  float scale_;
  void* scratch_;
  float *output_, *max_, *sum_;
  uint16_t* q_;
  uint8_t* visible_;
};

// Copies the queries of a KV head: positions [0, positions) of q, `stacked` heads each.
void GatherQueries(ConstMatrix q, const AttentionShape& shape, int kv_head, uint16_t* out) {
  const int64_t width = int64_t{shape.heads / shape.kv_heads} * shape.head_dim;
  for (int64_t i = 0; i < q.rows; ++i) {
    std::memcpy(out + i * width, Bf16Row(q, i) + kv_head * width, width * sizeof(uint16_t));
  }
}

KeyGroup MakeGroup(const AttentionShape& shape, int kv_head, KvLayerView kv, int64_t page, int64_t end) {
  KeyGroup group = {};
  group.pages = static_cast<int>(std::clamp<int64_t>(end - page, 0, kGroupPages));
  for (int i = 0; i < group.pages; ++i) {
    group.k[i] = PageKeys(kv[page + i], shape, kv_head);
    group.v[i] = PageValues(kv[page + i], shape, kv_head);
  }
  return group;
}

// Attends to pages [first, end) of the view; positions increase, `first` is a multiple of kGroupPages.
void AttendPages(const Context& context, TileState& state, absl::Span<const int32_t> positions,
                 const AttentionShape& shape, int kv_head, KvLayerView kv, int64_t first, int64_t end) {
  const int stacked = shape.heads / shape.kv_heads;
  KeyGroup next = MakeGroup(shape, kv_head, kv, first, end);
  for (int64_t page = first; page < end; page += kGroupPages) {
    KeyGroup group = next;
    next = MakeGroup(shape, kv_head, kv, page + kGroupPages, end);
    if (next.pages > 0) group.next = &next;
    const KvBlock& last = kv[page + group.pages - 1];
    if (SlotsBelow(last, int64_t{positions.front()} + 1) < kBlockTokens) {  // on the diagonal
      for (size_t i = 0; i < positions.size(); ++i) {
        for (int j = 0; j < group.pages; ++j) {
          const int slots = SlotsBelow(kv[page + j], int64_t{positions[i]} + 1);
          for (int head = 0; head < stacked; ++head) {
            state.visible()[(i * stacked + head) * kGroupPages + j] = static_cast<uint8_t>(slots);
          }
        }
      }
      group.visible = state.visible();
    }
    context.kernels.attend(state.tile(), group);
  }
}

// Pages of the view with a key at or before `position`.
int64_t VisiblePages(KvLayerView kv, int32_t position) {
  const auto end = std::upper_bound(kv.begin(), kv.end(), position / kBlockTokens,
                                    [](int32_t block, const KvBlock& held) { return block < held.block; });
  return end - kv.begin();
}

// A part of one decode row's keys, for the query heads of one KV head.
struct Split {
  int32_t row;
  int32_t kv_head;
  int64_t first_page, end_page;
};

// Splits depend on the row's own pages only, so its result does not depend on the batch.
std::vector<Split> MakeSplits(absl::Span<const int32_t> positions, const AttentionShape& shape,
                              absl::Span<const KvLayerView> kv) {
  std::vector<Split> splits;
  for (size_t row = 0; row < positions.size(); ++row) {
    const int64_t pages = VisiblePages(kv[row], positions[row]);
    for (int kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      for (int64_t page = 0; page == 0 || page < pages; page += kSplitPages) {
        splits.push_back({static_cast<int32_t>(row), kv_head, page, std::min(page + kSplitPages, pages)});
      }
    }
  }
  return splits;
}

// Merges the partial results of consecutive splits of one row and KV head, in order. A partial is, for each stacked
// head, its max, its sum and its output.
void MergeSplits(const Context& context, const float* partials, int64_t splits, const AttentionShape& shape,
                 uint16_t* out, float* merged) {
  const int stacked = shape.heads / shape.kv_heads;
  const int64_t width = shape.head_dim + 2;
  for (int head = 0; head < stacked; ++head) {
    const float* first = partials + head * width;
    float max = kNothingSeen;
    for (int64_t i = 0; i < splits; ++i) max = std::max(max, first[i * stacked * width]);
    float sum = 0;
    std::fill(merged, merged + shape.head_dim, 0.0f);
    for (int64_t i = 0; i < splits; ++i) {
      const float* partial = first + i * stacked * width;
      const float weight = std::exp2(partial[0] - max);
      sum += partial[1] * weight;
      for (int d = 0; d < shape.head_dim; ++d) merged[d] += partial[2 + d] * weight;
    }
    context.kernels.scale_to_bf16(merged, sum > 0 ? 1.0f / sum : 0.0f, shape.head_dim, out + head * shape.head_dim);
  }
}

}  // namespace

void Attention(const Context& context, ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
               KvLayerView kv, Matrix out) {
  if (positions.empty()) return;
  const int64_t rows = static_cast<int64_t>(positions.size());
  const int stacked = shape.heads / shape.kv_heads;
  const int64_t share = DivideUp(rows * shape.kv_heads, int64_t{kItemsPerThread} * context.pool.threads());
  const int64_t tile_rows =
      std::clamp<int64_t>(share, DivideUp(kSmallestTile, stacked), std::max(1, kTileRows / stacked));
  const int64_t tiles = DivideUp(rows, tile_rows);
  context.pool.ParallelFor(tiles * shape.kv_heads, [&](int64_t item, int worker) {
    const int64_t first = (tiles - 1 - item / shape.kv_heads) * tile_rows;  // the costliest first
    const int kv_head = static_cast<int>(item % shape.kv_heads);
    const int64_t count = std::min(tile_rows, rows - first);
    const int stacked_rows = static_cast<int>(count) * stacked;
    TileState state(context.scratch.ForWorker(worker, TileState::Bytes(stacked_rows, shape.head_dim)), stacked_rows,
                    shape);
    GatherQueries(q.Rows(first, count), shape, kv_head, state.q());
    const absl::Span<const int32_t> tile_positions = positions.subspan(first, count);
    AttendPages(context, state, tile_positions, shape, kv_head, kv, 0, VisiblePages(kv, tile_positions.back()));
    for (int row = 0; row < stacked_rows; ++row) {
      uint16_t* result = Bf16Row(out, first + row / stacked) + (kv_head * stacked + row % stacked) * shape.head_dim;
      const float sum = state.sum(row);
      context.kernels.scale_to_bf16(state.output(row), sum > 0 ? 1.0f / sum : 0.0f, shape.head_dim, result);
    }
  });
}

void AttentionDecode(const Context& context, ConstMatrix q, absl::Span<const int32_t> positions,
                     const AttentionShape& shape, absl::Span<const KvLayerView> kv, Matrix out) {
  const int stacked = shape.heads / shape.kv_heads;
  const int64_t width = shape.head_dim + 2;
  const std::vector<Split> splits = MakeSplits(positions, shape, kv);
  auto* partials = static_cast<float*>(context.scratch.Shared(splits.size() * stacked * width * sizeof(float)));
  context.pool.ParallelFor(static_cast<int64_t>(splits.size()), [&](int64_t item, int worker) {
    const Split& split = splits[item];
    TileState state(context.scratch.ForWorker(worker, TileState::Bytes(stacked, shape.head_dim)), stacked, shape);
    GatherQueries(q.Rows(split.row, 1), shape, split.kv_head, state.q());
    AttendPages(context, state, positions.subspan(split.row, 1), shape, split.kv_head, kv[split.row], split.first_page,
                split.end_page);
    for (int head = 0; head < stacked; ++head) {
      float* partial = partials + (item * stacked + head) * width;
      partial[0] = state.max(head);
      partial[1] = state.sum(head);
      std::memcpy(partial + 2, state.output(head), shape.head_dim * sizeof(float));
    }
  });
  std::vector<float> merged(shape.head_dim);
  for (size_t first = 0; first < splits.size();) {
    size_t end = first + 1;
    while (end < splits.size() && splits[end].row == splits[first].row &&
           splits[end].kv_head == splits[first].kv_head) {
      ++end;
    }
    uint16_t* result = Bf16Row(out, splits[first].row) + splits[first].kv_head * stacked * shape.head_dim;
    MergeSplits(context, partials + first * stacked * width, static_cast<int64_t>(end - first), shape, result,
                merged.data());
    first = end;
  }
}

}  // namespace slimfill::engine::cpu

// The backend's attention and block scores: what the kernels need is made on the host and uploaded with each op.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/status.h"
#include "engine/ops/cuda/cuda_backend.h"
#include "engine/tensor/bf16.h"

namespace slimfill::engine::cuda {
namespace {

HeadShape Heads(const AttentionShape& shape) { return {shape.heads, shape.kv_heads, shape.head_dim}; }

const __nv_bfloat16* Bf16(const ConstMatrix& m) {
  SLIMFILL_CHECK(m.dtype == DType::kBF16 && m.stride % 2 == 0 && reinterpret_cast<uintptr_t>(m.data) % 4 == 0);
  return static_cast<const __nv_bfloat16*>(m.data);
}
__nv_bfloat16* Bf16(const Matrix& m) { return const_cast<__nv_bfloat16*>(Bf16(ConstMatrix(m))); }

void FillPages(KvLayerView kv, KvPage* to) {
  for (const KvBlock& held : kv) *to++ = {reinterpret_cast<__nv_bfloat16*>(held.page), held.block, 0};
}

int64_t Splits(KvLayerView kv) { return (static_cast<int64_t>(kv.size()) + kSplitPages - 1) / kSplitPages; }

}  // namespace

const KvPage* CudaBackend::PutPages(KvLayerView kv, const AttentionShape& shape) {
  const int64_t page_bytes = KvPageBytes(shape);
  for (const KvBlock& held : kv) transfers_->BeforeRead(MemoryRange(held.page, page_bytes));
  const auto piece = ring_->Reserve<KvPage>(static_cast<int64_t>(kv.size()));
  FillPages(kv, piece.host);
  return piece.device;
}

void CudaBackend::Attention(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                            KvLayerView kv, Matrix out) {
  if (positions.empty()) return;
  BeforeRead(q);
  BeforeWrite(out);
  if (!Fits(static_cast<int64_t>(kv.size() * sizeof(KvPage)), "Attention") ||
      !Fits(static_cast<int64_t>(positions.size() * sizeof(int32_t)), "Attention")) {
    return;
  }
  // How many pages a tile of rows sees: those that begin at or before its last position.
  std::vector<int32_t> counts;
  auto end = kv.begin();
  for (size_t first = 0; first < positions.size(); first += kFlashRowTile) {
    const int32_t last = positions[std::min(first + kFlashRowTile, positions.size()) - 1];
    end = std::upper_bound(end, kv.end(), last / kBlockTokens, [](int32_t b, const KvBlock& a) { return b < a.block; });
    counts.push_back(static_cast<int32_t>(end - kv.begin()));
  }
  const KvPage* pages = PutPages(kv, shape);
  const int32_t* device_positions = ring_->Put(positions);
  const int32_t* device_counts = ring_->Put(absl::MakeConstSpan(counts));
  ring_->Send();
  Check(FlashAttention(Bf16(q), q.stride, device_positions, pages, device_counts, Bf16(out), out.stride,
                       static_cast<int>(positions.size()), Heads(shape), compute_.get()),
        "FlashAttention");
}

// How many of the first rows can be attended to at once.
int64_t CudaBackend::DecodeRowsThatFit(const AttentionShape& shape, absl::Span<const KvLayerView> kv) const {
  int64_t splits = 0, pages = 0, rows = 0;
  for (; rows < static_cast<int64_t>(kv.size()); ++rows) {
    splits += Splits(kv[rows]);
    pages += static_cast<int64_t>(kv[rows].size());
    const int64_t scratch = DecodeScratchFloats(splits, Heads(shape)) * static_cast<int64_t>(sizeof(float));
    const int64_t arguments = pages * static_cast<int64_t>(sizeof(KvPage));  // the largest of the pieces
    if (rows > 0 && (scratch > scratch_->bytes() || arguments > ring_->max_piece_bytes())) break;
  }
  return rows;
}

void CudaBackend::AttentionDecode(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                                  absl::Span<const KvLayerView> kv, Matrix out) {
  BeforeRead(q);
  BeforeWrite(out);
  for (int64_t row = 0; row < static_cast<int64_t>(positions.size());) {
    const int64_t rows = DecodeRowsThatFit(shape, kv.subspan(row));
    DecodeSomeRows(q.Rows(row, rows), positions.subspan(row, rows), shape, kv.subspan(row, rows), out.Rows(row, rows));
    row += rows;
  }
}

void CudaBackend::DecodeSomeRows(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                                 absl::Span<const KvLayerView> kv, Matrix out) {
  std::vector<DecodeRow> rows;
  std::vector<DecodeSplit> splits;
  int32_t page_count = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    const auto pages = static_cast<int32_t>(kv[i].size());
    const auto first_split = static_cast<int32_t>(splits.size());
    for (int32_t first = 0; first < pages; first += kSplitPages) {
      splits.push_back({static_cast<int32_t>(i), page_count + first, std::min(kSplitPages, pages - first)});
    }
    rows.push_back({positions[i], page_count, pages, first_split, static_cast<int32_t>(splits.size()) - first_split});
    page_count += pages;
  }
  const int64_t scratch = DecodeScratchFloats(static_cast<int64_t>(splits.size()), Heads(shape)) * 4;
  if (!Fits(page_count * static_cast<int64_t>(sizeof(KvPage)), "AttentionDecode")) return;
  if (scratch > scratch_->bytes()) {
    health_.Fail(
        absl::InternalError("a sequence is too long for AttentionDecode's scratch memory: lower --max-context"));
    return;
  }
  const auto piece = ring_->Reserve<KvPage>(page_count);
  KvPage* to = piece.host;
  for (const KvLayerView& view : kv) {
    for (const KvBlock& held : view) transfers_->BeforeRead(MemoryRange(held.page, KvPageBytes(shape)));
    FillPages(view, to);
    to += view.size();
  }
  const DecodeRow* device_rows = ring_->Put(absl::MakeConstSpan(rows));
  const DecodeSplit* device_splits = ring_->Put(absl::MakeConstSpan(splits));
  ring_->Send();
  Check(DecodeAttention(Bf16(q), q.stride, device_rows, static_cast<int>(rows.size()), device_splits,
                        static_cast<int>(splits.size()), piece.device, static_cast<float*>(scratch_->data()), Bf16(out),
                        out.stride, Heads(shape), compute_.get()),
        "DecodeAttention");
}

void CudaBackend::AttentionMass(const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                                absl::Span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  if (query.positions.empty() || query.heads.empty() || kv.empty()) return;
  // As many heads at once as find room for their results, statistics and queries.
  const int64_t units = static_cast<int64_t>(kv.size()) * (kBlockTokens / query.unit_tokens);
  const int64_t padded =
      (static_cast<int64_t>(query.positions.size()) + kMassRowTile - 1) / kMassRowTile * kMassRowTile;
  MassArguments one{};
  one.heads = 1;
  one.page_count = static_cast<int>(kv.size());
  one.padded_rows = static_cast<int>(padded);
  const int64_t scratch_bytes = (MassScratchFloats(one) + units) * static_cast<int64_t>(sizeof(float));
  const int64_t query_bytes = padded * shape.head_dim * DTypeBytes(DType::kBF16);
  if (!Fits(query_bytes, "AttentionMass") || !Fits(static_cast<int64_t>(kv.size() * sizeof(KvPage)), "AttentionMass")) {
    return;
  }
  if (scratch_bytes > scratch_->bytes()) {
    health_.Fail(absl::InternalError("a prompt is too long for AttentionMass's scratch memory: lower --max-context"));
    return;
  }
  const int64_t most = std::max<int64_t>(
      1, std::min(RowsThatFit(scratch_bytes), ring_->max_op_bytes() / 2 / std::max<int64_t>(1, 3 * query_bytes)));
  for (int64_t head = 0; head < static_cast<int64_t>(query.heads.size()); head += most) {
    const int64_t heads = std::min(most, static_cast<int64_t>(query.heads.size()) - head);
    MassOfHeads(query, query.heads.subspan(head, heads), shape, kv, out.subspan(head * units, heads * units));
  }
}

void CudaBackend::MassOfHeads(const MassQuery& query, absl::Span<const int> heads, const AttentionShape& shape,
                              KvLayerView kv, absl::Span<float> out) {
  const auto rows = static_cast<int64_t>(query.positions.size());
  MassArguments arguments{};
  arguments.page_count = static_cast<int>(kv.size());
  arguments.rows = static_cast<int>(rows);
  arguments.padded_rows = static_cast<int>((rows + kMassRowTile - 1) / kMassRowTile * kMassRowTile);
  arguments.heads = static_cast<int>(heads.size());
  arguments.head_dim = shape.head_dim;
  arguments.end_position = query.end_position;
  arguments.unit_tokens = query.unit_tokens;
  arguments.mean = query.mean;
  arguments.pages = PutPages(kv, shape);
  arguments.positions = ring_->Put(query.positions);
  if (!query.excluded.empty()) arguments.excluded = ring_->Put(query.excluded);

  std::vector<int32_t> kv_heads;
  for (const int head : heads) kv_heads.push_back(head / (shape.heads / shape.kv_heads));
  arguments.kv_heads = ring_->Put(absl::MakeConstSpan(kv_heads));
  const auto put_queries = [&](auto part_of) {
    const int64_t head_floats = int64_t{arguments.padded_rows} * shape.head_dim;
    const auto piece = ring_->Reserve<uint16_t>(arguments.heads * head_floats);
    std::fill_n(piece.host, arguments.heads * head_floats, uint16_t{0});
    for (int h = 0; h < arguments.heads; ++h) {
      for (int64_t i = 0; i < rows; ++i) {
        const float* q = query.q.data() + (i * shape.heads + heads[h]) * shape.head_dim;
        std::transform(q, q + shape.head_dim, piece.host + h * head_floats + i * shape.head_dim, part_of);
      }
    }
    return reinterpret_cast<const __nv_bfloat16*>(piece.device);
  };
  arguments.q_high = put_queries([](float q) { return FloatToBf16(q); });
  arguments.q_low = put_queries([](float q) { return FloatToBf16(q - Bf16ToFloat(FloatToBf16(q))); });
  ring_->Send();
  auto* stats = static_cast<float*>(scratch_->data());
  float* result = stats + MassScratchFloats(arguments);
  Check(cuda::AttentionMass(arguments, stats, result, compute_.get()), "AttentionMass");
  Download(result, static_cast<int64_t>(out.size() * sizeof(float)), out.data());
}

void CudaBackend::LookBack(ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
                           const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out) {
  static_assert(sizeof(Look) == sizeof(FarLook) && offsetof(Look, mass) == offsetof(FarLook, mass));
  std::fill(out.begin(), out.end(), FarLook());
  if (positions.empty() || heads.empty()) return;
  SLIMFILL_CHECK(positions.back() / kBlockTokens < static_cast<int64_t>(kv.size()));
  BeforeRead(q);
  if (!Fits(static_cast<int64_t>(kv.size() * sizeof(KvPage)), "LookBack")) return;
  LookArguments arguments{};
  arguments.q_stride = q.stride;
  arguments.head_count = static_cast<int>(heads.size());
  arguments.first_far_unit = kFirstFarUnit;
  arguments.far_units = kFarUnits;
  arguments.shape = Heads(shape);
  // A chunk's rows fit at once, but for a scratch memory much smaller than the server's.
  const int64_t row_bytes = arguments.head_count * static_cast<int64_t>(sizeof(Look));
  const int64_t most =
      std::min(RowsThatFit(row_bytes), ring_->max_piece_bytes() / static_cast<int64_t>(sizeof(int32_t)));
  for (int64_t row = 0; row < q.rows; row += most) {
    const int64_t rows = std::min(most, q.rows - row);
    arguments.q = Bf16(q.Rows(row, rows));
    arguments.rows = static_cast<int>(rows);
    arguments.pages = PutPages(kv, shape);
    arguments.positions = ring_->Put(positions.subspan(row, rows));
    arguments.heads = ring_->Put(heads);
    ring_->Send();
    auto* looks = static_cast<Look*>(scratch_->data());
    Check(cuda::LookBack(arguments, looks, compute_.get()), "LookBack");
    Download(looks, rows * row_bytes, out.data() + row * arguments.head_count);
  }
}

void CudaBackend::UnitMeanKeys(int32_t end_position, const AttentionShape& shape, KvLayerView kv,
                               absl::Span<float> out) {
  const int64_t page_floats = int64_t{kUnitsPerBlock} * shape.kv_cols();
  const int64_t most = std::min(RowsThatFit(page_floats * static_cast<int64_t>(sizeof(float))),
                                ring_->max_piece_bytes() / static_cast<int64_t>(sizeof(KvPage)));
  for (int64_t page = 0; page < static_cast<int64_t>(kv.size()); page += most) {
    const int64_t pages = std::min(most, static_cast<int64_t>(kv.size()) - page);
    const KvPage* table = PutPages(kv.subspan(page, pages), shape);
    ring_->Send();
    Check(cuda::UnitMeanKeys(table, static_cast<int>(pages), end_position, static_cast<float*>(scratch_->data()),
                             Heads(shape), compute_.get()),
          "UnitMeanKeys");
    Download(scratch_->data(), pages * page_floats * static_cast<int64_t>(sizeof(float)),
             out.data() + page * page_floats);
  }
}

}  // namespace slimfill::engine::cuda

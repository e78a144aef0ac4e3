// The backend's ops on rows, and its matrix products.
#include <algorithm>

#include "base/status.h"
#include "engine/ops/cuda/cuda_backend.h"
#include "engine/ops/cuda/packed_weight.h"

namespace slimfill::engine::cuda {
namespace {

// Rows of the scratch memory start at multiples of 16 bytes.
int64_t PaddedStride(int64_t cols) { return (cols + 7) / 8 * 8; }

float* F32(const Matrix& m) {
  SLIMFILL_CHECK(m.dtype == DType::kF32);
  return static_cast<float*>(m.data);
}
const float* F32(const ConstMatrix& m) {
  SLIMFILL_CHECK(m.dtype == DType::kF32);
  return static_cast<const float*>(m.data);
}
const float* F32(const Buffer& buffer) { return static_cast<const float*>(buffer.data()); }
__nv_bfloat16* Bf16(const Matrix& m) {
  SLIMFILL_CHECK(m.dtype == DType::kBF16);
  return static_cast<__nv_bfloat16*>(m.data);
}

HeadShape Heads(const AttentionShape& shape) { return {shape.heads, shape.kv_heads, shape.head_dim}; }

// Pairs of elements are read and written at once.
void CheckPairs(const ConstMatrix& m) {
  SLIMFILL_CHECK(m.stride % 2 == 0 && reinterpret_cast<uintptr_t>(m.data) % 4 == 0);
}

}  // namespace

void CudaBackend::EmbedRows(const WeightMatrix& table, absl::Span<const TokenId> tokens, Matrix out) {
  BeforeWrite(out);
  out.rows = static_cast<int64_t>(tokens.size());
  DequantizeToDevice(
      table, [&](int64_t row) { return int64_t{tokens[row]}; }, out, *ring_, compute_, health_);
}

void CudaBackend::RmsNorm(ConstMatrix x, const Buffer& weight, float epsilon, Matrix out) {
  BeforeRead(x);
  BeforeWrite(out);
  Check(cuda::RmsNorm(F32(x), x.stride, F32(weight), epsilon, Bf16(out), out.stride, static_cast<int>(x.rows),
                      static_cast<int>(x.cols), compute_.get()),
        "RmsNorm");
}

void CudaBackend::NormHeads(Matrix qkv, const Buffer& q_weight, const Buffer& k_weight, float epsilon,
                            const AttentionShape& shape) {
  BeforeWrite(qkv);
  Check(cuda::NormHeads(Bf16(qkv), qkv.stride, F32(q_weight), F32(k_weight), epsilon, static_cast<int>(qkv.rows),
                        Heads(shape), compute_.get()),
        "NormHeads");
}

void CudaBackend::Gemm(ConstMatrix x, const PackedWeight& weight, const Buffer* bias, GemmMode mode, Matrix out) {
  const ConstMatrix w = static_cast<const CudaWeight&>(weight).matrix();
  const bool accumulate = mode == GemmMode::kAccumulate;
  BeforeRead(x);
  BeforeWrite(out);
  if (bias == nullptr) return gemm_->Run(x, w, accumulate, out);
  // The sum goes through f32, so that it is rounded once, with its bias.
  const int64_t stride = PaddedStride(w.rows), most = RowsThatFit(stride * DTypeBytes(DType::kF32));
  for (int64_t row = 0; row < x.rows; row += most) {
    const int64_t rows = std::min(most, x.rows - row);
    const Matrix sum{scratch_->data(), DType::kF32, rows, w.rows, stride}, to = out.Rows(row, rows);
    gemm_->Run(x.Rows(row, rows), w, false, sum);
    const int count = static_cast<int>(rows), cols = static_cast<int>(w.rows);
    Check(to.dtype == DType::kF32
              ? AddBias(F32(sum), stride, F32(*bias), accumulate, F32(to), to.stride, count, cols, compute_.get())
              : AddBias(F32(sum), stride, F32(*bias), Bf16(to), to.stride, count, cols, compute_.get()),
          "AddBias");
  }
}

void CudaBackend::SwiGluFfn(ConstMatrix x, const PackedWeight& gate_up, const PackedWeight& down, Matrix residual) {
  const ConstMatrix both_weights = static_cast<const CudaWeight&>(gate_up).matrix();
  const ConstMatrix down_weight = static_cast<const CudaWeight&>(down).matrix();
  const int64_t width = down_weight.cols, both_stride = PaddedStride(2 * width), stride = PaddedStride(width);
  BeforeRead(x);
  BeforeWrite(residual);
  const int64_t most = RowsThatFit((both_stride + stride) * DTypeBytes(DType::kBF16));
  for (int64_t row = 0; row < x.rows; row += most) {
    const int64_t rows = std::min(most, x.rows - row);
    const Matrix both{scratch_->data(), DType::kBF16, rows, 2 * width, both_stride};
    const Matrix activated{static_cast<uint16_t*>(scratch_->data()) + rows * both_stride, DType::kBF16, rows, width,
                           stride};
    gemm_->Run(x.Rows(row, rows), both_weights, false, both);
    Check(SiluMul(Bf16(both), both_stride, Bf16(activated), stride, static_cast<int>(rows), static_cast<int>(width),
                  compute_.get()),
          "SiluMul");
    gemm_->Run(activated, down_weight, true, residual.Rows(row, rows));
  }
}

void CudaBackend::RopeAppendKv(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                               const AttentionShape& shape, KvLayerView kv) {
  std::vector<std::byte*> pages(positions.size());
  auto held = kv.begin();
  for (size_t i = 0; i < positions.size(); ++i) {
    const int32_t block = positions[i] / kBlockTokens;
    held = std::lower_bound(held, kv.end(), block, [](const KvBlock& a, int32_t b) { return a.block < b; });
    SLIMFILL_CHECK(held != kv.end() && held->block == block);
    pages[i] = held->page;
  }
  RopeAppend(qkv, positions, pages, cos_sin, shape);
}

void CudaBackend::RopeAppendKvDecode(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                                     const AttentionShape& shape, absl::Span<const KvLayerView> kv) {
  std::vector<std::byte*> pages(positions.size());
  for (size_t i = 0; i < positions.size(); ++i) {
    SLIMFILL_CHECK(!kv[i].empty() && kv[i].back().block == positions[i] / kBlockTokens);  // the newest token
    pages[i] = kv[i].back().page;
  }
  RopeAppend(qkv, positions, pages, cos_sin, shape);
}

void CudaBackend::RopeAppend(Matrix qkv, absl::Span<const int32_t> positions, const std::vector<std::byte*>& pages,
                             const Buffer& cos_sin, const AttentionShape& shape) {
  CheckPairs(qkv);
  BeforeWrite(qkv);
  const int64_t page_bytes = KvPageBytes(shape);
  const std::byte* last = nullptr;
  for (const std::byte* page : pages) {
    if (page != last) transfers_->BeforeWrite(MemoryRange(page, page_bytes));
    last = page;
  }
  if (!Fits(static_cast<int64_t>(pages.size() * sizeof(std::byte*)), "RopeAppendKv")) return;
  const int32_t* device_positions = ring_->Put(positions);
  std::byte* const* device_pages = ring_->Put(absl::MakeConstSpan(pages));
  ring_->Send();
  Check(cuda::RopeAppend(Bf16(qkv), qkv.stride, device_positions, reinterpret_cast<__nv_bfloat16* const*>(device_pages),
                         F32(cos_sin), static_cast<int>(positions.size()), Heads(shape), compute_.get()),
        "RopeAppend");
}

int64_t CudaBackend::ListRows(absl::Span<const int32_t> rows, int32_t* list) {
  constexpr int kBits = 32;
  const int64_t most_words = ring_->max_piece_bytes() / static_cast<int64_t>(sizeof(uint32_t));
  const int64_t first_row = rows.front() / kBits * kBits;
  const auto end = std::lower_bound(rows.begin(), rows.end(), first_row + most_words * kBits);
  const int64_t words = (*(end - 1) - first_row) / kBits + 1;
  const UploadRing::Piece<uint32_t> mask = ring_->Reserve<uint32_t>(words);
  std::fill_n(mask.host, words, 0);
  for (auto row = rows.begin(); row != end; ++row) mask.host[(*row - first_row) / kBits] |= 1u << (*row % kBits);
  ring_->Send();
  Check(cuda::ListRows(mask.device, static_cast<int>(words), static_cast<int>(first_row), list, compute_.get()),
        "ListRows");
  return end - rows.begin();
}

// dst may be src: rows only move to the front, so pieces that pass through the scratch memory in order overwrite
// nothing that a later piece reads.
void CudaBackend::GatherRows(ConstMatrix src, absl::Span<const int32_t> rows, Matrix dst) {
  BeforeRead(src);
  BeforeWrite(dst);
  const int64_t count = static_cast<int64_t>(rows.size()), stride = PaddedStride(src.cols);
  const bool overlaps = MemoryRange(src).Overlaps(MemoryRange(dst));
  const int64_t row_bytes = overlaps ? stride * DTypeBytes(DType::kF32) : 0;
  const int64_t most = RowsThatFit(row_bytes + static_cast<int64_t>(sizeof(int32_t)));
  for (int64_t row = 0, piece = 0; row < count; row += piece) {
    const int64_t wanted = std::min(most, count - row);
    auto* list = reinterpret_cast<int32_t*>(static_cast<std::byte*>(scratch_->data()) + wanted * row_bytes);
    piece = ListRows(rows.subspan(row, wanted), list);
    const Matrix to = dst.Rows(row, piece);
    const Matrix through = overlaps ? Matrix{scratch_->data(), DType::kF32, piece, src.cols, stride} : to;
    Check(cuda::GatherRows(F32(src), src.stride, list, F32(through), through.stride, static_cast<int>(piece),
                           static_cast<int>(src.cols), compute_.get()),
          "GatherRows");
    if (!overlaps) continue;
    Check(cudaMemcpy2DAsync(to.data, to.stride * sizeof(float), through.data, stride * sizeof(float),
                            src.cols * sizeof(float), piece, cudaMemcpyDeviceToDevice, compute_.get()),
          "GatherRows");
  }
}

void CudaBackend::ArgmaxRows(ConstMatrix src, absl::Span<TokenId> best) {
  BeforeRead(src);
  auto* indices = static_cast<int32_t*>(scratch_->data());
  static_assert(sizeof(TokenId) == sizeof(int32_t));
  const int64_t most = RowsThatFit(sizeof(int32_t));
  for (int64_t row = 0; row < src.rows; row += most) {
    const int64_t rows = std::min(most, src.rows - row);
    Check(cuda::ArgmaxRows(F32(src.Rows(row, rows)), src.stride, indices, static_cast<int>(rows),
                           static_cast<int>(src.cols), compute_.get()),
          "ArgmaxRows");
    Download(indices, rows * static_cast<int64_t>(sizeof(int32_t)), best.data() + row);
  }
}

RowTops CudaBackend::TopRows(ConstMatrix src, int64_t count, absl::Span<const float> temperatures) {
  static_assert(kMaxTop == kMostTop);
  SLIMFILL_CHECK(count > 0 && count <= kMaxTop);
  BeforeRead(src);
  RowTops tops;
  const int64_t elements = count + 1, cols = src.cols;
  const int64_t element_bytes = elements * static_cast<int64_t>(sizeof(TopElement));
  const int64_t row_scratch = TopScratchBytes(static_cast<int>(cols), static_cast<int>(count));
  const int64_t most = std::min(RowsThatFit(element_bytes + row_scratch),
                                ring_->max_piece_bytes() / static_cast<int64_t>(sizeof(float)));
  std::vector<TopElement> host;
  for (int64_t row = 0; row < src.rows; row += most) {
    const int64_t rows = std::min(most, src.rows - row);
    auto* top = static_cast<TopElement*>(scratch_->data());
    const float* device_temperatures = ring_->Put(temperatures.subspan(row, rows));
    ring_->Send();
    Check(cuda::TopRows(F32(src.Rows(row, rows)), src.stride, static_cast<int>(count), device_temperatures,
                        top + rows * elements, top, static_cast<int>(rows), static_cast<int>(cols), compute_.get()),
          "TopRows");
    host.resize(rows * elements);
    Download(top, rows * element_bytes, host.data());
    for (int64_t i = 0; i < rows * elements; ++i) {
      if (i % elements == count) {
        tops.masses.push_back(host[i].value);
      } else {
        tops.indices.push_back(host[i].index);
        tops.values.push_back(host[i].value);
      }
    }
  }
  return tops;
}

}  // namespace slimfill::engine::cuda

// The op interface: everything the forward pass asks of a device. One virtual class; an op takes microseconds or more,
// so dispatch costs nothing.
//
// Order: ops take effect in the order of the calls (a device may run them asynchronously; ReadRows, AttentionMass,
// LookBack, UnitMeanKeys, ArgmaxRows, TopRows and ReadPage wait for what they read). Shapes and dtypes are checked by
// the caller (engine/model/forward); a violation is our bug and aborts. Results do not depend on how rows are batched
// into calls: a row's value is the same alone as among others, bit for bit (reduction order never depends on the number
// of rows).
//
// Failure: what a caller can do something about is a status. A device that breaks makes every later result worthless:
// ops go on as if nothing had happened, and Health() says so. Results count only when it is asked afterwards.
//
// Threads: one thread calls a backend at a time, the engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/tokenizer.h"
#include "engine/model/weights.h"
#include "engine/tensor/matrix.h"

namespace slimfill::engine {

inline constexpr int kBlockTokens = 64;  // tokens in a KV block, by absolute position
inline constexpr int kUnitTokens = 8;    // tokens in a scoring unit
inline constexpr int kUnitsPerBlock = kBlockTokens / kUnitTokens;
inline constexpr int kMaxHeadDim = 128;

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;  // head h uses KV head h / (heads / kv_heads)
  int head_dim = 0;  // 16 to kMaxHeadDim, a multiple of 16
  int q_cols() const { return heads * head_dim; }
  int kv_cols() const { return kv_heads * head_dim; }
  int qkv_cols() const { return q_cols() + 2 * kv_cols(); }
};

// One block of a layer's keys and values: tokens at positions block * 64 + [0, 64). `page` is backend memory of
// KvPageBytes(), in the backend's own layout, zeroed when new: slots not written yet hold finite values.
struct KvBlock {
  std::byte* page = nullptr;
  int32_t block = 0;
};

// A layer's keys and values as far as they are held, in increasing block order; gaps are pruned blocks.
using KvLayerView = absl::Span<const KvBlock>;

// A matrix in the backend's own packing.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  int64_t rows() const { return rows_; }  // output features
  int64_t cols() const { return cols_; }  // input features
  virtual int64_t bytes() const = 0;

 protected:
  PackedWeight(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}
  int64_t rows_, cols_;
};

enum class GemmMode { kStore, kAccumulate };

// Softmax attention mass of query rows on key units; see Backend::AttentionMass.
struct MassQuery {
  absl::Span<const float> q;            // [rows, shape.heads, head_dim], post-RoPE, f32, host memory
  absl::Span<const int32_t> positions;  // [rows]; a key is visible when its position <= the query's
  absl::Span<const int> heads;          // which heads
  absl::Span<const uint8_t> excluded;   // [blocks of the view] nonzero: not visible; or empty
  int32_t end_position = 0;             // keys at positions >= this are not visible (slots not written)
  int unit_tokens = kUnitTokens;        // 8, or 64 for whole blocks
  bool mean = false;                    // over the query rows, instead of their max
};

// Where a token looks back to; see Backend::LookBack.
struct FarLook {
  int32_t unit = -1;  // of the prompt, at positions unit * 8 + [0, 8); -1: it has nothing far behind it
  float mass = 0;     // the share of its attention
  friend bool operator==(const FarLook&, const FarLook&) = default;
};

// What "far behind" is: not the prompt's first block, which takes what goes nowhere, and not what a token reads anyway.
inline constexpr int kFarUnits = 13;  // from a token's unit to the nearest that is far
inline constexpr int kFirstFarUnit = kUnitsPerBlock;

// What Backend::TopRows tells of rows.
struct RowTops {
  std::vector<TokenId> indices;  // [rows, count], the largest first, of equals the first one first; -1: no more finite
  std::vector<float> values;     // [rows, count]; 0 where no more are finite
  // [rows] The sum over a row's finite elements of exp((element - largest) / temperature), but for a factor between
  // 1 - kMassError and 1 + kMassError.
  std::vector<float> masses;
  static constexpr double kMassError = 1e-4;
};

// Bytes on their way from a backend to the host. The destructor waits, too.
class PendingRead {
 public:
  virtual ~PendingRead() = default;
  // Returns when they are there, from any one thread. INTERNAL when the device broke: they are worthless.
  virtual absl::Status Wait() = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char* name() const = 0;         // "ref", "cpu", "cuda"
  virtual std::string description() const = 0;  // for people: instruction set, threads
  virtual DType activation_dtype() const = 0;   // of normalised rows, q/k/v, attention output; residuals are f32
  virtual std::string kv_layout() const = 0;    // names layout and dtype of pages: part of the KV store's keys
  virtual std::string arithmetic() const = 0;   // of linear layers, where it shows in results: part of the keys, too

  // INTERNAL once the device has failed: no result since the last OK counts, and the process has to start again.
  virtual absl::Status Health() const { return absl::OkStatus(); }
  // Waits until the ops called so far have ended: what was measured until then is what they took. Health() afterwards.
  virtual absl::Status Finish() { return absl::OkStatus(); }

  // --- Memory. RESOURCE_EXHAUSTED when there is none.
  // What Allocate could give out now; without a bound of its own, all there is.
  virtual int64_t FreeBytes() const { return std::numeric_limits<int64_t>::max(); }
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) = 0;  // zeroed, 64-byte aligned
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Upload(absl::Span<const float> values) = 0;
  virtual int64_t KvPageBytes(const AttentionShape& shape) const = 0;
  virtual void ReadPage(const std::byte* page, absl::Span<std::byte> host) = 0;
  // Starts reading `sources` one behind another into `host`, as they are now: later ops may overwrite them. `host` must
  // live as long as the result. Null: done already.
  virtual std::unique_ptr<PendingRead> BeginRead(absl::Span<const absl::Span<const std::byte>> sources,
                                                 absl::Span<std::byte> host);
  virtual void WritePage(absl::Span<const std::byte> host, std::byte* page) = 0;
  virtual void ZeroPage(std::byte* page, int64_t bytes) = 0;

  // --- Weights. Rows are read from several threads.
  virtual absl::StatusOr<std::unique_ptr<PackedWeight>> PackWeight(const WeightMatrix& weight) = 0;

  // --- Forward pass. `act` is activation_dtype().
  // out[i] = row tokens[i] of table. out f32 [n, hidden].
  virtual void EmbedRows(const WeightMatrix& table, absl::Span<const TokenId> tokens, Matrix out) = 0;
  // out = x / sqrt(mean(x^2) + epsilon) * weight. x f32 [n, d], weight f32 [d], out act [n, d].
  virtual void RmsNorm(ConstMatrix x, const Buffer& weight, float epsilon, Matrix out) = 0;
  // out (+)= x * weight^T + bias. x act [n, k], weight [m, k], bias f32 [m] or null, out act or f32 [n, m];
  // kAccumulate needs f32.
  virtual void Gemm(ConstMatrix x, const PackedWeight& weight, const Buffer* bias, GemmMode mode, Matrix out) = 0;
  // residual += W_down * (silu(W_gate x) * (W_up x)). x act [n, hidden], gate_up [2 * ffn, hidden] (gate rows first),
  // down [hidden, ffn], residual f32 [n, hidden].
  virtual void SwiGluFfn(ConstMatrix x, const PackedWeight& gate_up, const PackedWeight& down, Matrix residual) = 0;
  // Normalises every query and key head of every row by itself, in place: x / sqrt(mean(x^2) + epsilon) * weight. v is
  // left as it is. qkv act [n, qkv_cols], q_weight and k_weight f32 [head_dim].
  virtual void NormHeads(Matrix qkv, const Buffer& q_weight, const Buffer& k_weight, float epsilon,
                         const AttentionShape& shape) = 0;
  // Rotates q and k of every row to its position (half-split RoPE: element i pairs with i + head_dim / 2), leaves q in
  // place and writes k and v into the pages of `kv`. qkv act [n, qkv_cols]. cos_sin f32 [context, head_dim]: cosines of
  // the head_dim / 2 frequencies at a position, then sines. REQUIRES: every position's block is in `kv`.
  virtual void RopeAppendKv(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                            const AttentionShape& shape, KvLayerView kv) = 0;
  // Decode: row i is the newest token of its own sequence. Writes its keys and values into `kv[i]`.
  virtual void RopeAppendKvDecode(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                                  const AttentionShape& shape, absl::Span<const KvLayerView> kv);
  // Causal by position: row i sees the keys of `kv` at positions <= positions[i]. q: the first q_cols columns of the
  // rows given (act), positions increasing; out act [n, q_cols].
  virtual void Attention(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                         KvLayerView kv, Matrix out) = 0;
  // Decode: row i is the newest token of its own sequence, with its own keys.
  virtual void AttentionDecode(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                               absl::Span<const KvLayerView> kv, Matrix out) = 0;
  // dst[i] = src[rows[i]], f32; rows strictly increasing and rows[i] >= i, so dst may be src itself (compaction).
  virtual void GatherRows(ConstMatrix src, absl::Span<const int32_t> rows, Matrix dst) = 0;

  // --- Scores (results on the host).
  // Rows as f32 in host memory, [rows, cols] dense.
  virtual void ReadRows(ConstMatrix src, absl::Span<float> host) = 0;
  // The index of the largest finite element of each row, the first of equals, -1 where none is finite. f32.
  virtual void ArgmaxRows(ConstMatrix src, absl::Span<TokenId> best);
  // Whether ReadRows is a copy within the host's memory, and so nothing is won by TopRows.
  virtual bool rows_in_host_memory() const { return true; }
  // The `count` largest finite elements of each row, and its mass at the row's temperature (0: not asked for). f32.
  // temperatures [rows]. REQUIRES: 0 < count <= kMaxTop.
  static constexpr int64_t kMaxTop = 64;
  virtual RowTops TopRows(ConstMatrix src, int64_t count, absl::Span<const float> temperatures);
  // For each head and each unit of `kv`'s blocks: max (or mean) over query rows of the sum over the unit's tokens of
  // the row's softmax attention (f32, scale 1/sqrt(head_dim), over all visible keys). out [heads, blocks * (64 /
  // unit_tokens)]. A row that sees nothing adds nothing (and counts for the mean).
  virtual void AttentionMass(const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                             absl::Span<float> out) = 0;
  // For each row and each of `heads` the far unit that gets the most of the row's softmax attention, the first of
  // equals. q and positions as for Attention; `kv` must hold all blocks up to the last row's. out [rows, heads].
  virtual void LookBack(ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
                        const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out);
  // Mean key of each unit (8 tokens) of `kv`'s blocks over its keys at positions < end_position; zeros for units
  // without any. out f32 [blocks * 8, kv_heads, head_dim].
  virtual void UnitMeanKeys(int32_t end_position, const AttentionShape& shape, KvLayerView kv,
                            absl::Span<float> out) = 0;
};

}  // namespace slimfill::engine

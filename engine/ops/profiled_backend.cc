#include "engine/ops/profiled_backend.h"

#include <chrono>
#include <string_view>
#include <utility>

namespace slimfill::engine {
namespace {

class ProfiledBackend : public Backend {
  // Adds to the profile when the call ends.
  class Stopwatch {
   public:
    Stopwatch(OpProfile& profile, const char* op) : profile_(profile), op_(op) {}
    ~Stopwatch() {
      profile_.Add(op_, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count());
    }

   private:
    OpProfile& profile_;
    const char* op_;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  };

  template <typename Call>
  auto Timed(const char* op, const Call& call) {
    const Stopwatch stopwatch(profile_, op);
    return call();
  }

 public:
  ProfiledBackend(std::unique_ptr<Backend> backend, OpProfile& profile)
      : backend_(std::move(backend)), profile_(profile) {}

  const char* name() const override { return backend_->name(); }
  std::string description() const override { return backend_->description(); }
  DType activation_dtype() const override { return backend_->activation_dtype(); }
  std::string kv_layout() const override { return backend_->kv_layout(); }
  std::string arithmetic() const override { return backend_->arithmetic(); }
  absl::Status Health() const override { return backend_->Health(); }
  absl::Status Finish() override {
    return Timed("waiting", [&] { return backend_->Finish(); });
  }

  int64_t FreeBytes() const override { return backend_->FreeBytes(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    return Timed("allocate", [&] { return backend_->Allocate(bytes); });
  }
  absl::StatusOr<std::unique_ptr<Buffer>> Upload(absl::Span<const float> values) override {
    return backend_->Upload(values);
  }
  int64_t KvPageBytes(const AttentionShape& shape) const override { return backend_->KvPageBytes(shape); }
  void ReadPage(const std::byte* page, absl::Span<std::byte> host) override {
    Timed("read page", [&] { backend_->ReadPage(page, host); });
  }
  std::unique_ptr<PendingRead> BeginRead(absl::Span<const absl::Span<const std::byte>> sources,
                                         absl::Span<std::byte> host) override {
    return Timed("read page", [&] { return backend_->BeginRead(sources, host); });
  }
  void WritePage(absl::Span<const std::byte> host, std::byte* page) override {
    Timed("write page", [&] { backend_->WritePage(host, page); });
  }
  void ZeroPage(std::byte* page, int64_t bytes) override {
    Timed("zero page", [&] { backend_->ZeroPage(page, bytes); });
  }
  absl::StatusOr<std::unique_ptr<PackedWeight>> PackWeight(const WeightMatrix& weight) override {
    return backend_->PackWeight(weight);
  }
  void EmbedRows(const WeightMatrix& table, absl::Span<const TokenId> tokens, Matrix out) override {
    Timed("embed rows", [&] { backend_->EmbedRows(table, tokens, out); });
  }
  void RmsNorm(ConstMatrix x, const Buffer& weight, float epsilon, Matrix out) override {
    Timed("RMS norm", [&] { backend_->RmsNorm(x, weight, epsilon, out); });
  }
  void Gemm(ConstMatrix x, const PackedWeight& weight, const Buffer* bias, GemmMode mode, Matrix out) override {
    Timed("matrix products", [&] { backend_->Gemm(x, weight, bias, mode, out); });
  }
  void SwiGluFfn(ConstMatrix x, const PackedWeight& gate_up, const PackedWeight& down, Matrix residual) override {
    Timed("SwiGLU FFN", [&] { backend_->SwiGluFfn(x, gate_up, down, residual); });
  }
  void NormHeads(Matrix qkv, const Buffer& q_weight, const Buffer& k_weight, float epsilon,
                 const AttentionShape& shape) override {
    Timed("head norm", [&] { backend_->NormHeads(qkv, q_weight, k_weight, epsilon, shape); });
  }
  void RopeAppendKv(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin, const AttentionShape& shape,
                    KvLayerView kv) override {
    Timed("RoPE, KV append", [&] { backend_->RopeAppendKv(qkv, positions, cos_sin, shape, kv); });
  }
  void RopeAppendKvDecode(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                          const AttentionShape& shape, absl::Span<const KvLayerView> kv) override {
    Timed("RoPE, KV append", [&] { backend_->RopeAppendKvDecode(qkv, positions, cos_sin, shape, kv); });
  }
  void Attention(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape, KvLayerView kv,
                 Matrix out) override {
    Timed("attention", [&] { backend_->Attention(q, positions, shape, kv, out); });
  }
  void AttentionDecode(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                       absl::Span<const KvLayerView> kv, Matrix out) override {
    Timed("decode attention", [&] { backend_->AttentionDecode(q, positions, shape, kv, out); });
  }
  void GatherRows(ConstMatrix src, absl::Span<const int32_t> rows, Matrix dst) override {
    Timed("gather rows", [&] { backend_->GatherRows(src, rows, dst); });
  }
  void ReadRows(ConstMatrix src, absl::Span<float> host) override {
    Timed("read rows", [&] { backend_->ReadRows(src, host); });
  }
  void ArgmaxRows(ConstMatrix src, absl::Span<TokenId> best) override {
    Timed("argmax", [&] { backend_->ArgmaxRows(src, best); });
  }
  bool rows_in_host_memory() const override { return backend_->rows_in_host_memory(); }
  RowTops TopRows(ConstMatrix src, int64_t count, absl::Span<const float> temperatures) override {
    return Timed("top", [&] { return backend_->TopRows(src, count, temperatures); });
  }
  void AttentionMass(const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                     absl::Span<float> out) override {
    Timed("block scores", [&] { backend_->AttentionMass(query, shape, kv, out); });
  }
  void LookBack(ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
                const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out) override {
    Timed("look back", [&] { backend_->LookBack(q, positions, heads, shape, kv, out); });
  }
  void UnitMeanKeys(int32_t end_position, const AttentionShape& shape, KvLayerView kv, absl::Span<float> out) override {
    Timed("unit keys", [&] { backend_->UnitMeanKeys(end_position, shape, kv, out); });
  }

 private:
  const std::unique_ptr<Backend> backend_;
  OpProfile& profile_;
};

}  // namespace

void OpProfile::Add(const char* op, double seconds) {
  for (OpTime& time : times_) {
    if (std::string_view(time.op) != op) continue;
    time.seconds += seconds;
    ++time.calls;
    return;
  }
  times_.push_back({op, seconds, 1});
}

std::unique_ptr<Backend> MakeProfiledBackend(std::unique_ptr<Backend> backend, OpProfile& profile) {
  return std::make_unique<ProfiledBackend>(std::move(backend), profile);
}

}  // namespace slimfill::engine

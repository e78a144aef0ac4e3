// bench_ops: speed of the CPU backend's ops, as shares of the machine's limits. Every figure is the best of several.
// Times are CPU time divided by threads, which holds on a busy machine too; the wall time stands beside it.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "engine/ops/backend_factory.h"
#include "engine/ops/bench/peak.h"
#include "engine/tensor/bf16.h"

namespace slimfill::engine {
namespace {

double Seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

std::vector<float> RandomValues(int64_t count) {
  static std::mt19937 engine(1);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(engine()) / 2147483648.0f - 1.0f;
  return values;
}

class Bench {
 public:
  Bench(std::unique_ptr<Backend> backend, int threads, double seconds, double peak, double bandwidth)
      : backend_(std::move(backend)), threads_(threads), seconds_(seconds), peak_(peak), bandwidth_(bandwidth) {}

  void Gemm(int64_t k, int64_t n, int64_t rows) {
    memory_.clear();
    const auto weight = Pack(n, k);
    const Matrix x = Random(DType::kBF16, rows, k), out = Random(DType::kF32, rows, n);
    const Time time = Best([&] { backend_->Gemm(x, *weight, nullptr, GemmMode::kStore, out); });
    Report("gemm " + std::to_string(k) + "->" + std::to_string(n) + " M=" + std::to_string(rows), time,
           2.0 * rows * k * n, static_cast<double>(k * n * 2));
  }

  void SwiGlu(int64_t hidden, int64_t ffn, int64_t rows) {
    memory_.clear();
    const auto gate_up = Pack(2 * ffn, hidden), down = Pack(hidden, ffn);
    const Matrix x = Random(DType::kBF16, rows, hidden), residual = Random(DType::kF32, rows, hidden);
    const Time time = Best([&] { backend_->SwiGluFfn(x, *gate_up, *down, residual); });
    Report("swiglu " + std::to_string(hidden) + "/" + std::to_string(ffn) + " M=" + std::to_string(rows), time,
           6.0 * rows * hidden * ffn, 6.0 * hidden * ffn);
  }

  void Attention(const AttentionShape& shape, int64_t tokens) {
    memory_.clear();
    const Layer layer(*this, shape, tokens);
    const Matrix q = Random(DType::kBF16, tokens, shape.q_cols()), out = Random(DType::kBF16, tokens, shape.q_cols());
    std::vector<int32_t> positions(tokens);
    for (int64_t i = 0; i < tokens; ++i) positions[i] = static_cast<int32_t>(i);
    const Time time = Best([&] { backend_->Attention(q, positions, shape, layer.kv, out); });
    Report("attention " + Name(shape) + " n=" + std::to_string(tokens), time,
           2.0 * tokens * (tokens + 1) * shape.q_cols(), 0);
  }

  void Decode(const AttentionShape& shape, int64_t tokens, int64_t batch) {
    memory_.clear();
    std::vector<std::unique_ptr<Layer>> layers;
    std::vector<KvLayerView> views;
    for (int64_t i = 0; i < batch; ++i) {
      layers.push_back(std::make_unique<Layer>(*this, shape, tokens));
      views.push_back(layers.back()->kv);
    }
    const Matrix q = Random(DType::kBF16, batch, shape.q_cols()), out = Random(DType::kBF16, batch, shape.q_cols());
    const std::vector<int32_t> positions(batch, static_cast<int32_t>(tokens - 1));
    const Time time = Best([&] { backend_->AttentionDecode(q, positions, shape, views, out); });
    Report("decode attention " + Name(shape) + " n=" + std::to_string(tokens) + " batch " + std::to_string(batch), time,
           4.0 * batch * tokens * shape.q_cols(), 4.0 * batch * tokens * shape.kv_cols());
  }

  void Mass(const AttentionShape& shape, int64_t tokens, int64_t rows, int heads) {
    memory_.clear();
    const Layer layer(*this, shape, tokens);
    const std::vector<float> q = RandomValues(rows * shape.q_cols());
    std::vector<int32_t> positions(rows, static_cast<int32_t>(tokens - 1));
    std::vector<int> which(heads);
    for (int i = 0; i < heads; ++i) which[i] = i;
    std::vector<float> out(heads * layer.kv.size() * 8);
    const MassQuery query{.q = q, .positions = positions, .heads = which, .end_position = static_cast<int32_t>(tokens)};
    const Time time = Best([&] { backend_->AttentionMass(query, shape, layer.kv, absl::MakeSpan(out)); });
    Report("mass " + std::to_string(rows) + " rows, " + std::to_string(heads) + " heads, n=" + std::to_string(tokens),
           time, 2.0 * rows * heads * tokens * shape.head_dim, 0);
    std::vector<float> means(layer.kv.size() * 8 * shape.kv_cols());
    const Time means_time =
        Best([&] { backend_->UnitMeanKeys(static_cast<int32_t>(tokens), shape, layer.kv, absl::MakeSpan(means)); });
    Report("unit means n=" + std::to_string(tokens), means_time, 0, 2.0 * tokens * shape.kv_cols());
  }

  void RowOps(int64_t rows, const AttentionShape& shape, int64_t hidden) {
    memory_.clear();
    const Matrix x = Random(DType::kF32, rows, hidden), normed = Random(DType::kBF16, rows, hidden);
    const auto weight = *backend_->Upload(RandomValues(hidden));
    Report("rms norm M=" + std::to_string(rows), Best([&] { backend_->RmsNorm(x, *weight, 1e-6f, normed); }), 0,
           6.0 * rows * hidden);
    const Layer layer(*this, shape, rows);
    const Matrix qkv = Random(DType::kBF16, rows, shape.qkv_cols());
    const auto cos_sin = *backend_->Upload(RandomValues(rows * shape.head_dim));
    std::vector<int32_t> positions(rows);
    for (int64_t i = 0; i < rows; ++i) positions[i] = static_cast<int32_t>(i);
    Report("rope + append M=" + std::to_string(rows),
           Best([&] { backend_->RopeAppendKv(qkv, positions, *cos_sin, shape, layer.kv); }), 0,
           4.0 * rows * shape.qkv_cols());
  }

 private:
  // A layer's keys and values for `tokens` tokens, random.
  struct Layer {
    Layer(Bench& bench, const AttentionShape& shape, int64_t tokens) {
      const int64_t pages = (tokens + kBlockTokens - 1) / kBlockTokens;
      const int64_t bytes = bench.backend_->KvPageBytes(shape);
      const Matrix memory = bench.Random(DType::kBF16, pages, bytes / 2);
      for (int64_t i = 0; i < pages; ++i) {
        blocks.push_back({static_cast<std::byte*>(memory.data) + i * bytes, static_cast<int32_t>(i)});
      }
      kv = blocks;
    }
    std::vector<KvBlock> blocks;
    KvLayerView kv;
  };

  static std::string Name(const AttentionShape& shape) {
    return std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) + "x" + std::to_string(shape.head_dim);
  }

  Matrix Random(DType dtype, int64_t rows, int64_t cols) {
    auto buffer = backend_->Allocate(rows * cols * DTypeBytes(dtype));
    if (!buffer.ok()) {
      std::fprintf(stderr, "bench_ops: %s\n", std::string(buffer.status().message()).c_str());
      std::exit(1);
    }
    const Matrix matrix = (*buffer)->As(dtype, rows, cols);
    const std::vector<float> values = RandomValues(std::min<int64_t>(rows * cols, 1 << 16));
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float value = values[i % values.size()];
      if (dtype == DType::kF32) {
        static_cast<float*>(matrix.data)[i] = value;
      } else {
        static_cast<uint16_t*>(matrix.data)[i] = FloatToBf16(value);
      }
    }
    memory_.push_back(std::move(*buffer));
    return matrix;
  }

  std::unique_ptr<PackedWeight> Pack(int64_t rows, int64_t cols) {
    const std::vector<float> values = RandomValues(rows * cols);
    const GgufTensor tensor{
        .name = "bench",
        .type = GgmlType::kF32,
        .shape = {cols, rows},
        .bytes = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float))};
    return *backend_->PackWeight(WeightMatrix({WeightMatrix::Part{&tensor}}));
  }

  struct Time {
    double cpu = 1e9;  // of all threads, divided by their number
    double wall = 1e9;
  };

  Time Best(const std::function<void()>& op) {
    op();
    Time best;
    double total = 0;
    for (int repeat = 0; repeat < 200 && (repeat < 3 || total < seconds_); ++repeat) {
      const double cpu = Seconds(CLOCK_PROCESS_CPUTIME_ID), wall = Seconds(CLOCK_MONOTONIC);
      op();
      best.cpu = std::min(best.cpu, (Seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / threads_);
      best.wall = std::min(best.wall, Seconds(CLOCK_MONOTONIC) - wall);
      total += Seconds(CLOCK_MONOTONIC) - wall;
    }
    return best;
  }

  // `operations`: arithmetic; `bytes`: read from memory at least. 0: not of interest.
  void Report(const std::string& what, Time time, double operations, double bytes) {
    std::printf("%-44s %10.3f ms (wall %10.3f)", what.c_str(), time.cpu * 1e3, time.wall * 1e3);
    if (operations > 0) {
      std::printf("  %8.1f GFLOP/s", operations / time.cpu / 1e9);
      if (peak_ > 0) std::printf(" %5.1f %%", operations / time.cpu / (peak_ * threads_) * 100);
    }
    if (bytes > 0) std::printf("  %7.1f GB/s %5.1f %%", bytes / time.cpu / 1e9, bytes / time.cpu / bandwidth_ * 100);
    std::printf("\n");
    std::fflush(stdout);
  }

  std::unique_ptr<Backend> backend_;
  const int threads_;
  const double seconds_, peak_, bandwidth_;
  std::vector<std::unique_ptr<Buffer>> memory_;
};

struct Options {
  int threads = 1;
  std::string isa;
  double seconds = 0.3;
  std::vector<std::string> parts = {"gemm", "attention", "decode", "scores", "rows"};
};

void Run(const Options& options) {
  auto backend = MakeBackend("cpu", {.threads = options.threads, .cpu_isa = options.isa});
  if (!backend.ok()) {
    std::fprintf(stderr, "bench_ops: %s\n", std::string(backend.status().message()).c_str());
    std::exit(1);
  }
  const double peak = MeasureBf16Peak(), bandwidth = MeasureReadBandwidth();
  std::printf("%s; one core: bf16 %.1f GFLOP/s, reads %.1f GB/s\n", (*backend)->description().c_str(), peak / 1e9,
              bandwidth / 1e9);
  Bench bench(std::move(*backend), options.threads, options.seconds, peak, bandwidth);
  const auto wanted = [&](const char* part) {
    return std::find(options.parts.begin(), options.parts.end(), part) != options.parts.end();
  };
  constexpr AttentionShape kQwen{14, 2, 64}, kLlama{32, 8, 128};
  if (wanted("gemm")) {
    for (const auto& [k, n] :
         std::vector<std::pair<int64_t, int64_t>>{{896, 1152}, {896, 896}, {896, 9728}, {4864, 896}}) {
      for (int64_t rows : {1, 8, 64, 512, 2048}) bench.Gemm(k, n, rows);
    }
    bench.Gemm(896, 151936, 1);
    for (int64_t rows : {1, 8, 64, 512, 2048}) bench.SwiGlu(896, 4864, rows);
  }
  if (wanted("attention")) {
    for (const AttentionShape& shape : {kQwen, kLlama}) {
      for (int64_t tokens : {2048, 8192}) bench.Attention(shape, tokens);
    }
  }
  if (wanted("decode")) {
    for (int64_t tokens : {1024, 8192, 32768}) bench.Decode(kQwen, tokens, 1);
    bench.Decode(kQwen, 8192, 8);
    bench.Decode(kLlama, 8192, 1);
  }
  if (wanted("scores")) {
    bench.Mass(kQwen, 32768, 64, 1);
    bench.Mass(kQwen, 32768, 32, 14);
  }
  if (wanted("rows")) bench.RowOps(2048, kQwen, 896);
}

}  // namespace
}  // namespace slimfill::engine

int main(int argc, char** argv) {
  slimfill::engine::Options options;
  CLI::App app{"Speed of the CPU backend's ops"};
  app.add_option("--threads", options.threads, "threads of the pool")->check(CLI::Range(1, 1024));
  app.add_option("--isa", options.isa, "instruction-set level; the best by default");
  app.add_option("--seconds", options.seconds, "time for each figure");
  app.add_option("parts", options.parts, "gemm, attention, decode, scores, rows; all by default");
  CLI11_PARSE(app, argc, argv);
  slimfill::engine::Run(options);
}

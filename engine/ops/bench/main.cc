// bench_ops: speed of the CPU backend's ops, as shares of the machine's limits. Every figure is the best of several.
// Times are CPU time divided by threads, which holds on a busy machine too; the wall time stands beside it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "engine/ops/backend_factory.h"
#include "engine/ops/bench/onednn.h"
#include "engine/ops/bench/peak.h"
#include "engine/ops/bench/report.h"
#include "engine/ops/bench/timing.h"
#include "engine/tensor/bf16.h"

namespace slimfill::engine {
namespace {

std::vector<float> RandomValues(int64_t count) {
  static std::mt19937 engine(1);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(engine()) / 2147483648.0f - 1.0f;
  return values;
}

class Bench {
 public:
  Bench(std::unique_ptr<Backend> backend, std::unique_ptr<Backend> int8, TimingOptions timing, MachineLimits limits)
      : backend_(std::move(backend)),
        int8_(std::move(int8)),
        timing_(timing),
        report_(backend_->description(), timing.threads, limits) {}

  const nlohmann::json& json() const { return report_.json(); }

  // On bf16 and on 8-bit integers, taking turns.
  void Gemm(int64_t k, int64_t n, int64_t rows) {
    memory_.clear();
    const auto weight = Pack(*backend_, n, k), int8_weight = Pack(*int8_, n, k);
    const Matrix x = Random(DType::kBF16, rows, k), out = Random(DType::kF32, rows, n);
    const std::vector<Time> times = BestOf({[&] { backend_->Gemm(x, *weight, nullptr, GemmMode::kStore, out); },
                                            [&] { int8_->Gemm(x, *int8_weight, nullptr, GemmMode::kStore, out); }},
                                           timing_);
    ReportBoth("gemm " + std::to_string(k) + "->" + std::to_string(n) + " M=" + std::to_string(rows), times,
               2.0 * rows * k * n, *weight, *int8_weight);
  }

  // Ours and oneDNN's on the same product, taking turns.
  void OneDnn(int64_t k, int64_t n, int64_t rows, DType out_type) {
    memory_.clear();
    const std::vector<float> values = RandomValues(n * k);
    const auto weight = Pack(*backend_, values, n, k);
    const Matrix x = Random(DType::kBF16, rows, k), ours = Random(out_type, rows, n),
                 theirs = Random(out_type, rows, n);
    const auto onednn = MakeOneDnnGemm(x, {values.data(), DType::kF32, n, k, k}, theirs, timing_.threads);
    if (onednn == nullptr) return void(std::printf("oneDNN has no bf16 product for this machine\n"));
    const std::vector<Time> times =
        BestOf({[&] { backend_->Gemm(x, *weight, nullptr, GemmMode::kStore, ours); }, [&] { onednn->Run(); }}, timing_);
    CheckSameProduct(ours, theirs, k);
    const std::string what = "gemm " + std::to_string(k) + "->" + std::to_string(n) + " M=" + std::to_string(rows) +
                             (out_type == DType::kF32 ? " f32" : " bf16");
    const double operations = 2.0 * rows * k * n, bytes = static_cast<double>(k * n * 2);
    Report(what + ", ours", times[0], operations, bytes, {{"engine", "ours"}});
    Report(what + ", oneDNN", times[1], operations, bytes, {{"engine", "onednn"}});
    std::printf("%48s ours is %.2f times as fast\n", "", times[1].cpu / times[0].cpu);
  }

  void SwiGlu(int64_t hidden, int64_t ffn, int64_t rows) {
    memory_.clear();
    const auto gate_up = Pack(*backend_, 2 * ffn, hidden), down = Pack(*backend_, hidden, ffn);
    const auto int8_gate_up = Pack(*int8_, 2 * ffn, hidden), int8_down = Pack(*int8_, hidden, ffn);
    const Matrix x = Random(DType::kBF16, rows, hidden), residual = Random(DType::kF32, rows, hidden);
    const std::vector<Time> times = BestOf({[&] { backend_->SwiGluFfn(x, *gate_up, *down, residual); },
                                            [&] { int8_->SwiGluFfn(x, *int8_gate_up, *int8_down, residual); }},
                                           timing_);
    ReportBoth("swiglu " + std::to_string(hidden) + "/" + std::to_string(ffn) + " M=" + std::to_string(rows), times,
               6.0 * rows * hidden * ffn, *gate_up, *int8_gate_up, down.get(), int8_down.get());
  }

  void Attention(const AttentionShape& shape, int64_t tokens) {
    memory_.clear();
    const Layer layer(*this, shape, tokens);
    const Matrix q = Random(DType::kBF16, tokens, shape.q_cols()), out = Random(DType::kBF16, tokens, shape.q_cols());
    std::vector<int32_t> positions(tokens);
    for (int64_t i = 0; i < tokens; ++i) positions[i] = static_cast<int32_t>(i);
    const Time time = Best([&] { backend_->Attention(q, positions, shape, layer.kv, out); });
    Report("attention " + Name(shape) + " n=" + std::to_string(tokens), time,
           2.0 * tokens * (tokens + 1) * shape.q_cols(), 0, {{"shape", Name(shape)}, {"tokens", tokens}});
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

  // Both round to bf16 before multiplying; they differ in the order of summation and, for bf16, in the last bit.
  static void CheckSameProduct(const Matrix& ours, const Matrix& theirs, int64_t k) {
    const auto value = [](const Matrix& matrix, int64_t i) {
      return matrix.dtype == DType::kF32 ? static_cast<const float*>(matrix.data)[i]
                                         : Bf16ToFloat(static_cast<const uint16_t*>(matrix.data)[i]);
    };
    const float tolerance = 0.02f * std::sqrt(static_cast<float>(k));  // of values of about sqrt(k) / 3
    for (int64_t i = 0; i < ours.rows * ours.cols; ++i) {
      if (std::abs(value(ours, i) - value(theirs, i)) <= tolerance) continue;
      std::fprintf(stderr, "bench_ops: element %lld differs: ours %g, oneDNN %g\n", static_cast<long long>(i),
                   value(ours, i), value(theirs, i));
      std::exit(1);
    }
  }

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

  static std::unique_ptr<PackedWeight> Pack(Backend& backend, int64_t rows, int64_t cols) {
    return Pack(backend, RandomValues(rows * cols), rows, cols);
  }

  static std::unique_ptr<PackedWeight> Pack(Backend& backend, const std::vector<float>& values, int64_t rows,
                                            int64_t cols) {
    const StoredTensor tensor{
        .name = "bench",
        .type = GgmlType::kF32,
        .shape = {cols, rows},
        .bytes = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float))};
    return *backend.PackWeight(WeightMatrix({WeightMatrix::Part{&tensor}}));
  }

  Time Best(const std::function<void()>& op) { return BestOf({op}, timing_)[0]; }

  // times: bf16's and int8's; bytes are those of the weights, one or two of each kind.
  void ReportBoth(const std::string& what, const std::vector<Time>& times, double operations,
                  const PackedWeight& bf16_weight, const PackedWeight& int8_weight,
                  const PackedWeight* second_bf16 = nullptr, const PackedWeight* second_int8 = nullptr) {
    const auto bytes = [](const PackedWeight& first, const PackedWeight* second) {
      return static_cast<double>(first.bytes() + (second == nullptr ? 0 : second->bytes()));
    };
    report_.Add(what, times[0], operations, bytes(bf16_weight, second_bf16), {{"linear", "bf16"}});
    report_.Add(what + " int8", times[1], operations, bytes(int8_weight, second_int8), {{"linear", "int8"}}, true);
    std::printf("%48s int8 is %.2f times as fast\n", "", times[0].cpu / times[1].cpu);
  }

  void Report(const std::string& what, Time time, double operations, double bytes,
              nlohmann::json details = nlohmann::json::object()) {
    report_.Add(what, time, operations, bytes, std::move(details));
  }

  std::unique_ptr<Backend> backend_, int8_;  // the latter for linear layers only
  const TimingOptions timing_;
  slimfill::engine::Report report_;
  std::vector<std::unique_ptr<Buffer>> memory_;
};

struct Options {
  TimingOptions timing;
  std::string isa, json;
  std::vector<int64_t> tokens = {2048, 8192};
  std::vector<std::string> shapes = {"qwen", "llama"};
  std::vector<std::string> parts = {"gemm", "attention", "decode", "scores", "rows"};
};

bool Contains(const std::vector<std::string>& names, const char* name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void RunParts(const Options& options, Bench& bench) {
  constexpr AttentionShape kQwen{14, 2, 64}, kLlama{32, 8, 128};
  // Of Qwen2.5-0.5B: qkv, attention output, gate and up, down.
  const std::vector<std::pair<int64_t, int64_t>> gemms = {{896, 1152}, {896, 896}, {896, 9728}, {4864, 896}};
  if (Contains(options.parts, "gemm")) {
    for (const auto& [k, n] : gemms) {
      for (int64_t rows : {1, 8, 64, 512, 2048}) bench.Gemm(k, n, rows);
    }
    for (int64_t rows : {1, 8, 64}) bench.Gemm(896, 151936, rows);
    for (int64_t rows : {1, 8, 64, 512, 2048}) bench.SwiGlu(896, 4864, rows);
  }
  if (Contains(options.parts, "onednn")) {
    std::printf("oneDNN %s, weights packed with tag::any\n", OneDnnVersion().c_str());
    for (DType out : {DType::kF32, DType::kBF16}) {
      for (const auto& [k, n] : gemms) {
        for (int64_t rows : {1, 64, 512, 2048}) bench.OneDnn(k, n, rows, out);
      }
    }
  }
  if (Contains(options.parts, "attention")) {
    for (int64_t tokens : options.tokens) {
      if (Contains(options.shapes, "qwen")) bench.Attention(kQwen, tokens);
      if (Contains(options.shapes, "llama")) bench.Attention(kLlama, tokens);
    }
  }
  if (Contains(options.parts, "decode")) {
    for (int64_t tokens : {1024, 8192, 32768}) bench.Decode(kQwen, tokens, 1);
    bench.Decode(kQwen, 8192, 8);
    bench.Decode(kLlama, 8192, 1);
  }
  if (Contains(options.parts, "scores")) {
    bench.Mass(kQwen, 32768, 64, 1);
    bench.Mass(kQwen, 32768, 32, 14);
  }
  if (Contains(options.parts, "rows")) bench.RowOps(2048, kQwen, 896);
}

int Run(const Options& options) {
  if (Contains(options.parts, "onednn") && OneDnnVersion().empty()) {
    std::fprintf(stderr, "bench_ops: built without oneDNN: install libdnnl-dev and configure again\n");
    return 1;
  }
  auto backend = MakeBackend("cpu", {.threads = options.timing.threads, .cpu_isa = options.isa});
  auto int8 = MakeBackend("cpu", {.threads = options.timing.threads, .cpu_isa = options.isa, .linear = "int8"});
  for (const absl::Status& status : {backend.status(), int8.status()}) {
    if (status.ok()) continue;
    std::fprintf(stderr, "bench_ops: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  const int threads = options.timing.threads;
  Bench bench(std::move(*backend), std::move(*int8), options.timing,
              {MeasureBf16Peak(threads), MeasureInt8Peak(threads), MeasureReadBandwidth(threads)});
  RunParts(options, bench);
  if (options.json.empty()) return 0;
  std::ofstream file(options.json);
  file << bench.json().dump(1) << "\n";
  if (file.good()) return 0;
  std::fprintf(stderr, "bench_ops: cannot write %s\n", options.json.c_str());
  return 1;
}

}  // namespace
}  // namespace slimfill::engine

int main(int argc, char** argv) {
  slimfill::engine::Options options;
  CLI::App app{"Speed of the CPU backend's ops"};
  app.add_option("--threads", options.timing.threads, "threads of the pool")->check(CLI::Range(1, 1024));
  app.add_option("--isa", options.isa, "instruction-set level; the best by default");
  app.add_option("--seconds", options.timing.seconds, "time for each figure");
  app.add_option("--repeats", options.timing.repeats, "runs of each at least, after one to warm up");
  app.add_option("--tokens", options.tokens, "prompt lengths of attention")->delimiter(',');
  app.add_option("--shapes", options.shapes, "of attention: qwen (14/2x64), llama (32/8x128)")->delimiter(',');
  app.add_option("--json", options.json, "file to write the figures to");
  app.add_option("parts", options.parts, "gemm, attention, decode, scores, rows; all of these by default; onednn")
      ->check(CLI::IsMember({"gemm", "attention", "decode", "scores", "rows", "onednn"}));
  CLI11_PARSE(app, argc, argv);
  return slimfill::engine::Run(options);
}

#include "engine/ops/bench/onednn.h"

#if SLIMFILL_HAVE_ONEDNN
#include <omp.h>

#include <dnnl.hpp>
#else
#include <cstdlib>
#endif

namespace slimfill::engine {

#if SLIMFILL_HAVE_ONEDNN
namespace {

using dnnl::memory;

memory::data_type Type(DType dtype) { return dtype == DType::kF32 ? memory::data_type::f32 : memory::data_type::bf16; }

class Product final : public OneDnnGemm {
 public:
  Product(ConstMatrix x, ConstMatrix weight, Matrix out) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const memory::dim m = x.rows, k = x.cols, n = weight.rows;
    const memory::desc source({m, k}, Type(x.dtype), memory::format_tag::ab);
    const memory::desc target({m, n}, Type(out.dtype), memory::format_tag::ab);
    const memory::desc any({k, n}, memory::data_type::bf16, memory::format_tag::any);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(source, any, target), engine_);
    matmul_ = dnnl::matmul(description);
    packed_ = memory(description.weights_desc(), engine_);
    // Ours is [n, k], row by row: a transposed [k, n].
    memory plain({{k, n}, Type(weight.dtype), memory::format_tag::ba}, engine_, const_cast<void*>(weight.data));
    dnnl::reorder(plain, packed_).execute(stream_, plain, packed_);
    stream_.wait();
    source_ = memory(source, engine_, const_cast<void*>(x.data));
    target_ = memory(target, engine_, out.data);
  }

  void Run() override {
    matmul_.execute(stream_, {{DNNL_ARG_SRC, source_}, {DNNL_ARG_WEIGHTS, packed_}, {DNNL_ARG_DST, target_}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul matmul_;
  memory packed_, source_, target_;
};

}  // namespace

std::string OneDnnVersion() {
  const dnnl_version_t& version = *dnnl_version();
  return std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch);
}

std::unique_ptr<OneDnnGemm> MakeOneDnnGemm(ConstMatrix x, ConstMatrix weight, Matrix out, int threads) {
  omp_set_num_threads(threads);
  try {
    return std::make_unique<Product>(x, weight, out);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

#else

std::string OneDnnVersion() { return ""; }
std::unique_ptr<OneDnnGemm> MakeOneDnnGemm(ConstMatrix, ConstMatrix, Matrix, int) { std::abort(); }

#endif

}  // namespace slimfill::engine

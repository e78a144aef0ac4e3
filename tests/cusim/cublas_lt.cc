#include <cstring>
#include <vector>

#include "cublasLt.h"
#include "cuda_bf16.h"
#include "tests/cusim/faults.h"
#include "tests/cusim/memory.h"
#include "tests/cusim/stream.h"
#include "tests/cusim/visible_memory.h"

struct CusimLtHandle {};
struct CusimMatmulDesc {
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
};
struct CusimMatrixLayout {
  cudaDataType_t type;
  uint64_t rows, cols;
  int64_t ld;
  size_t element() const { return type == CUDA_R_32F ? 4 : 2; }
  size_t bytes() const { return cols == 0 ? 0 : ((cols - 1) * static_cast<size_t>(ld) + rows) * element(); }
};
struct CusimPreference {};

namespace {

constexpr uint64_t kAlgorithm = 0x616c676f;  // so that an algorithm nobody asked for is noticed

// A column of a matrix as f32, read where the sanitizers look.
void ReadColumn(const void* matrix, const CusimMatrixLayout& layout, uint64_t col, std::vector<float>& values) {
  const char* column = static_cast<const char*>(matrix) + col * static_cast<size_t>(layout.ld) * layout.element();
  values.resize(layout.rows);
  if (layout.type == CUDA_R_32F) return cusim::VisibleCopy(values.data(), column, layout.rows * 4);
  std::vector<uint16_t> raw(layout.rows);
  cusim::VisibleCopy(raw.data(), column, layout.rows * 2);
  for (uint64_t i = 0; i < layout.rows; ++i) values[i] = __bfloat162float({raw[i]});
}

void WriteColumn(void* matrix, const CusimMatrixLayout& layout, uint64_t col, const std::vector<float>& values) {
  char* column = static_cast<char*>(matrix) + col * static_cast<size_t>(layout.ld) * layout.element();
  if (layout.type == CUDA_R_32F) return cusim::VisibleCopy(column, values.data(), layout.rows * 4);
  std::vector<uint16_t> raw(layout.rows);
  for (uint64_t i = 0; i < layout.rows; ++i) raw[i] = __float2bfloat16_rn(values[i]).bits;
  cusim::VisibleCopy(column, raw.data(), layout.rows * 2);
}

#if !defined(CUSIM_ASAN) && !defined(CUSIM_TSAN)
__attribute__((target_clones("avx2", "default")))
#endif
float Dot(const float* a, const float* b, size_t n) {
  float partial[16] = {};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t j = 0; j < 16; ++j) partial[j] += a[i + j] * b[i + j];
  }
  float sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (const float value : partial) sum += value;
  return sum;
}

// d = alpha * a^T * b + beta * c, all column-major.
struct Product {
  CusimMatrixLayout a, b, c;
  const void *a_data, *b_data, *c_data;
  void* d_data;
  float alpha, beta;

  void Run() const {
    std::vector<std::vector<float>> columns(b.cols), results(b.cols);
    std::vector<float> row;
    for (uint64_t j = 0; j < b.cols; ++j) {
      ReadColumn(b_data, b, j, columns[j]);
      results[j].resize(c.rows);
      if (beta != 0) ReadColumn(c_data, c, j, results[j]);
    }
    for (uint64_t i = 0; i < a.cols; ++i) {
      ReadColumn(a_data, a, i, row);
      for (uint64_t j = 0; j < b.cols; ++j) {
        const float sum = alpha * Dot(row.data(), columns[j].data(), a.rows);
        results[j][i] = beta == 0 ? sum : sum + beta * results[j][i];
      }
    }
    for (uint64_t j = 0; j < b.cols; ++j) WriteColumn(d_data, c, j, results[j]);
  }
};

bool Multipliable(const CusimMatmulDesc& desc, const CusimMatrixLayout& a, const CusimMatrixLayout& b,
                  const CusimMatrixLayout& d) {
  const auto whole = [](const CusimMatrixLayout& m) { return m.ld >= static_cast<int64_t>(m.rows) && m.rows > 0; };
  return desc.transpose_a == CUBLAS_OP_T && desc.transpose_b == CUBLAS_OP_N && whole(a) && whole(b) && whole(d) &&
         a.rows == b.rows && d.rows == a.cols && d.cols == b.cols && a.type == b.type;
}

template <typename T>
cublasStatus_t Create(T** object) {
  *object = new T();
  return CUBLAS_STATUS_SUCCESS;
}
template <typename T>
cublasStatus_t Destroy(T* object) {
  delete object;
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return Create(handle); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return Destroy(handle); }
const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS of an error";
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t, cudaDataType_t) {
  return Create(desc);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) { return Destroy(desc); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  if (bytes != sizeof(cublasOperation_t)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(attribute == CUBLASLT_MATMUL_DESC_TRANSA ? &desc->transpose_a : &desc->transpose_b, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  *layout = new CusimMatrixLayout{type, rows, cols, ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return Destroy(layout); }
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) { return Create(preference); }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) { return Destroy(preference); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
                                                    const void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* returned) {
  *returned = 0;
  if (requested < 1 || !Multipliable(*desc, *a, *b, *d)) return CUBLAS_STATUS_NOT_SUPPORTED;
  results[0] = {};
  results[0].algo.data[0] = kAlgorithm;
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algo, cublasLtMatmulHeuristicResult_t* result) {
  *result = {};
  result->algo = *algo;
  const bool known = algo->data[0] == kAlgorithm && Multipliable(*desc, *a, *b, *d);
  return known ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo, void*, size_t,
                              cudaStream_t stream) {
  const cusim::RuntimeLock lock;
  if (cusim::TakeFault("cublasLtMatmul") != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (algo->data[0] != kAlgorithm || !Multipliable(*desc, *a_layout, *b_layout, *d_layout)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const auto on_device = [](const void* p, const CusimMatrixLayout& layout) {
    return cusim::IsMemory(p, layout.bytes(), cusim::MemoryKind::kDevice);
  };
  if (!on_device(a, *a_layout) || !on_device(b, *b_layout) || !on_device(c, *c_layout) || !on_device(d, *d_layout)) {
    cusim::Fail("cublasLtMatmul: a matrix does not lie in one allocation of device memory");
  }
  cusim::Operation operation;
  operation.run = [product = Product{*a_layout, *b_layout, *d_layout, a, b, c, d, *static_cast<const float*>(alpha),
                                     *static_cast<const float*>(beta)}] { product.Run(); };
  cusim::Device::Get().Push(stream, std::move(operation));
  return CUBLAS_STATUS_SUCCESS;
}

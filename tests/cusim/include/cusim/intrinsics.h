// Device functions that are no collectives: arithmetic with stated rounding, bit tricks, atomics, fences.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

using std::isfinite;
using std::max;
using std::min;

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }

// A product or sum rounded on its own, never fused.
inline float __fmul_rn(float a, float b) {
  volatile float product = a * b;
  return product;
}
inline float __fadd_rn(float a, float b) {
  volatile float sum = a + b;
  return sum;
}
inline float __fsub_rn(float a, float b) {
  volatile float difference = a - b;
  return difference;
}
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return std::exp(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

template <typename To, typename From>
To CusimBitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
inline float __int_as_float(int x) { return CusimBitCast<float>(x); }
inline int __float_as_int(float x) { return CusimBitCast<int>(x); }
inline float __uint_as_float(unsigned x) { return CusimBitCast<float>(x); }
inline unsigned __float_as_uint(float x) { return CusimBitCast<unsigned>(x); }
template <typename T>
T __ldg(const T* p) {
  return *p;
}

inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// Relaxed: atomics order nothing but themselves.
template <typename T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> desired) {
  __atomic_compare_exchange(p, &expected, &desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <typename T, typename Update>
T CusimAtomicUpdate(T* p, Update update) {
  T old;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  T updated = update(old);
  while (!__atomic_compare_exchange(p, &old, &updated, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) updated = update(old);
  return old;
}
template <typename T>
T atomicAdd(T* p, std::type_identity_t<T> value) {
  return CusimAtomicUpdate(p, [value](T old) { return static_cast<T>(old + value); });
}
template <typename T>
T atomicMax(T* p, std::type_identity_t<T> value) {
  return CusimAtomicUpdate(p, [value](T old) { return old < value ? value : old; });
}
template <typename T>
T atomicMin(T* p, std::type_identity_t<T> value) {
  return CusimAtomicUpdate(p, [value](T old) { return value < old ? value : old; });
}

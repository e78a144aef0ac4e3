// The tile registers of AMX, as functions. A tile is up to 16 rows of 64 bytes. `Multiply` adds to a tile of f32 sums
// [rows, 16] the product of a tile of bf16 rows [rows, 32] and a tile packed [16][16][2] (kernels.h): what a page of
// keys, a page of values and a weight panel are made of.
//
// For what runs where AMX is and may be used (isa.h); instructions alone, so that every file may compile them.
//
// The compiler does not know these registers: every access says that it touches memory, so that none moves across.
#pragma once

#include <cstdint>

namespace slimfill::engine::cpu::amx {

inline constexpr int kTileRows = 16;   // rows of a tile
inline constexpr int kTileCols = 16;   // f32 columns of a tile of sums
inline constexpr int kTileDepth = 32;  // k of a full product
inline constexpr int kTilePairs = kTileDepth / 2;

// What ldtilecfg reads: the shape of each tile. A tile that is not set must not be used.
struct alignas(64) Config {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void SetSums(int tile, int count) { Set(tile, count, kTileCols * 4); }
  void SetRows(int tile, int count, int pairs) { Set(tile, count, pairs * 4); }
  void SetPacked(int tile, int pairs) { Set(tile, pairs, kTileCols * 4); }

 private:
  void Set(int tile, int count, int bytes) {
    rows[tile] = static_cast<uint8_t>(count);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};

// The calling thread's tiles, all zero. Release gives them back: a thread that holds tiles costs more to switch.
inline void Configure(const Config& config) { asm volatile("ldtilecfg %0" ::"m"(config) : "memory"); }
inline void Release() { asm volatile("tilerelease" ::: "memory"); }

template <int kTile>
inline void Zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile) : "memory");
}
// `stride`: bytes from row to row.
template <int kTile>
inline void Load(const void* rows, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void Store(void* rows, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(rows), "r"(stride), "i"(kTile) : "memory");
}
// sums += rows * packed, in one order for each element, whatever the number of rows.
template <int kSums, int kRows, int kPacked>
inline void Multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows), "i"(kPacked) : "memory");
}

}  // namespace slimfill::engine::cpu::amx

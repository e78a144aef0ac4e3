// What the machine can do at most, to state results as a share of it.
#pragma once

namespace slimfill::engine {

// Both measure on `threads` threads at once, since cores share power and memory, and add up what each reaches by its
// own CPU time: another process on the machine does not count against them.

// Operations per second of the instruction that products of bf16 numbers are made of: AMX's tile product, fed from the
// nearest cache; else, from registers, the bf16 dot product or AVX2's multiply-add of f32; 0 where the machine has
// none.
double MeasureBf16Peak(int threads);
// The same of 8-bit integers: VNNI's dot product, else AVX2's of 16-bit numbers.
double MeasureInt8Peak(int threads);

// Bytes per second read from memory.
double MeasureReadBandwidth(int threads);

}  // namespace slimfill::engine

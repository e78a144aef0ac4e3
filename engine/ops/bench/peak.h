// What the machine can do at most, to state results as a share of it.
#pragma once

namespace slimfill::engine {

// Operations per second of one core's bf16 dot products from registers; 0 where the machine has none.
double MeasureBf16Peak();

// Bytes per second that one thread reads from memory.
double MeasureReadBandwidth();

}  // namespace slimfill::engine

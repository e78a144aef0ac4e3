// Settings of the libraries that a program runs on.
#pragma once

namespace slimfill {

// For main, before other threads start.
// - The C library keeps freed memory for the next allocation instead of giving it back to the system, up to what it
//   comes to by itself once it has seen a block of 32 MiB freed. gRPC receives into fresh memory, and where the pages
//   of every message come from the system a third of the CPU time of receiving goes into that.
// - Abseil, as Debian builds it, looks for deadlocks at every Mutex that is locked; optimised builds do without.
void SetUpRuntime();

}  // namespace slimfill

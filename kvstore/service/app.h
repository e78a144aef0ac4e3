// slimfill-kvstore from its command line to its exit code: wiring, and the order of start and stop.
#pragma once

namespace slimfill::kvstore {

// Runs until SIGTERM or SIGINT. Call it from main before any other thread exists.
int RunKvStore(int argc, const char* const* argv);

}  // namespace slimfill::kvstore

// Macros for absl::Status. Errors travel as values; exceptions of third-party libraries are caught at their adapter.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define SLIMFILL_CONCAT_INNER(a, b) a##b
#define SLIMFILL_CONCAT(a, b) SLIMFILL_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` (an absl::Status) is not OK.
#define SLIMFILL_RETURN_IF_ERROR(expr)                                                        \
  do {                                                                                        \
    if (absl::Status slimfill_status = (expr); !slimfill_status.ok()) return slimfill_status; \
  } while (false)

// Declares or assigns `lhs` from `expr` (an absl::StatusOr), or returns its error.
#define SLIMFILL_ASSIGN_OR_RETURN(lhs, expr) \
  SLIMFILL_ASSIGN_OR_RETURN_INNER(SLIMFILL_CONCAT(slimfill_or_, __LINE__), lhs, expr)
#define SLIMFILL_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                    \
  if (!tmp.ok()) return std::move(tmp).status();        \
  lhs = std::move(tmp).value()

// For our own bugs only: never for user input, the network, or memory that a request exhausted.
#define SLIMFILL_CHECK(condition)                                                          \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "%s:%d: internal error: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)

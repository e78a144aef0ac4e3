// Shows how far a prefill is: a bar on a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdio>

#include "slimfill/v1/inference.pb.h"

namespace slimfill::cli {

class ProgressBar {
 public:
  ProgressBar(std::FILE* out, bool is_terminal) : out_(out), is_terminal_(is_terminal) {}
  ~ProgressBar() { Clear(); }

  void Show(const v1::Admitted& admitted);
  void Show(const v1::Progress& progress);
  // Takes the bar away; nothing is shown after the first token.
  void Clear();

 private:
  void Draw(const v1::Progress& progress, double elapsed_s);
  double Elapsed() const;

  std::FILE* const out_;
  const bool is_terminal_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double next_line_s_ = 0;
  bool drawn_ = false;
};

}  // namespace slimfill::cli

#include "cli/progress.h"

#include <algorithm>
#include <cinttypes>
#include <string>

namespace slimfill::cli {
namespace {

constexpr int kBarWidth = 30;
constexpr double kSecondsBetweenLines = 5;

std::string Bar(double fraction) {
  const int filled = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * kBarWidth);
  return std::string(filled, '#') + std::string(kBarWidth - filled, '.');
}

}  // namespace

double ProgressBar::Elapsed() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void ProgressBar::Show(const v1::Admitted& admitted) {
  if (admitted.queue_position() == 0) return;
  std::fprintf(out_, "%s%" PRId64 " requests ahead in the queue%s", is_terminal_ ? "\r\033[K" : "",
               admitted.queue_position(), is_terminal_ ? "" : "\n");
  std::fflush(out_);
  drawn_ = true;
}

void ProgressBar::Show(const v1::Progress& progress) {
  const double elapsed = Elapsed();
  if (is_terminal_) {
    Draw(progress, elapsed);
  } else if (elapsed >= next_line_s_) {
    next_line_s_ = elapsed + kSecondsBetweenLines;
    std::fprintf(out_, "prefill %.0f%% of %" PRId64 " tokens after %.1f s\n", 100 * progress.fraction_done(),
                 progress.tokens_total(), elapsed);
  }
}

void ProgressBar::Draw(const v1::Progress& progress, double elapsed_s) {
  std::fprintf(out_, "\r\033[Kprefill [%s] %3.0f%%  %" PRId64 "/%" PRId64 " tokens  stage %d/%d  %.1f s",
               Bar(progress.fraction_done()).c_str(), 100 * progress.fraction_done(), progress.tokens_done(),
               progress.tokens_total(), progress.stage() + 1, progress.stages(), elapsed_s);
  std::fflush(out_);
  drawn_ = true;
}

void ProgressBar::Clear() {
  if (is_terminal_ && drawn_) std::fprintf(out_, "\r\033[K");
  std::fflush(out_);
  drawn_ = false;
}

}  // namespace slimfill::cli

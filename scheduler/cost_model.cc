#include "scheduler/cost_model.h"

#include <cmath>
#include <limits>
#include <utility>

namespace slimfill::scheduler {
namespace {

constexpr int kTerms = 3;
using Vector = std::array<double, kTerms>;
using Matrix = std::array<Vector, kTerms>;

constexpr double kKeepFit = 0.995;   // per chunk: half of the weight lies in the last 140
constexpr double kKeepError = 0.98;  // per chunk: half in the last 35
constexpr double kRidge = 1e-6;  // of a scaled column; shares the time evenly between terms that always grow together
constexpr double kMinSeconds = 1e-7;  // below the clock's resolution a relative error means nothing

Vector Terms(const engine::PrefillWork& work) { return {work.chunks, work.token_layers, work.pair_layers}; }

double Dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// Solves the equations of the terms in `mask` by elimination with pivoting, the others being zero. False when singular.
bool SolveSubset(Matrix a, Vector b, unsigned mask, Vector& x) {
  for (int i = 0; i < kTerms; ++i) {
    if (mask >> i & 1) continue;
    for (int j = 0; j < kTerms; ++j) a[i][j] = a[j][i] = 0;
    a[i][i] = 1;
    b[i] = 0;
  }
  for (int column = 0; column < kTerms; ++column) {
    int pivot = column;
    for (int row = column + 1; row < kTerms; ++row) {
      if (std::abs(a[row][column]) > std::abs(a[pivot][column])) pivot = row;
    }
    if (std::abs(a[pivot][column]) < 1e-12) return false;
    std::swap(a[column], a[pivot]);
    std::swap(b[column], b[pivot]);
    for (int row = column + 1; row < kTerms; ++row) {
      const double factor = a[row][column] / a[column][column];
      for (int j = column; j < kTerms; ++j) a[row][j] -= factor * a[column][j];
      b[row] -= factor * b[column];
    }
  }
  for (int row = kTerms - 1; row >= 0; --row) {
    x[row] = b[row];
    for (int j = row + 1; j < kTerms; ++j) x[row] -= a[row][j] * x[j];
    x[row] /= a[row][row];
  }
  return true;
}

}  // namespace

void CostModel::Observe(const engine::PrefillWork& work, double seconds) {
  const Vector terms = Terms(work);
  if (!(seconds >= kMinSeconds) || !std::isfinite(seconds)) return;
  double total = 0;
  for (double term : terms) {
    if (!(term >= 0) || !std::isfinite(term)) return;
    total += term;
  }
  if (total == 0) return;

  if (const std::optional<double> predicted = PredictSeconds(work); predicted.has_value()) {
    error_sum_ = kKeepError * error_sum_ + std::abs(*predicted - seconds) / seconds;
    error_weight_ = kKeepError * error_weight_ + 1;
    ++judged_;
  }
  for (int i = 0; i < kTerms; ++i) {
    for (int j = 0; j < kTerms; ++j) {
      gram_[i][j] = kKeepFit * gram_[i][j] + terms[i] / seconds * (terms[j] / seconds);
    }
    moment_[i] = kKeepFit * moment_[i] + terms[i] / seconds;
  }
  ++chunks_;
  Fit();
}

// Three terms have seven non-empty sets of positive coefficients: trying them all is exact and takes microseconds.
void CostModel::Fit() {
  Vector scale{};
  for (int i = 0; i < kTerms; ++i) scale[i] = gram_[i][i] > 0 ? std::sqrt(gram_[i][i]) : 0;
  Matrix a{};
  Vector b{};
  unsigned usable = 0;
  for (int i = 0; i < kTerms; ++i) {
    if (scale[i] == 0) continue;
    usable |= 1u << i;
    b[i] = moment_[i] / scale[i];
    for (int j = 0; j < kTerms; ++j) a[i][j] = scale[j] > 0 ? gram_[i][j] / (scale[i] * scale[j]) : 0;
    a[i][i] += kRidge;
  }

  double best = std::numeric_limits<double>::infinity();
  for (unsigned mask = 1; mask < 1u << kTerms; ++mask) {
    Vector x{};
    if ((mask & usable) != mask || !SolveSubset(a, b, mask, x)) continue;
    if (x[0] < 0 || x[1] < 0 || x[2] < 0) continue;
    double objective = -2 * Dot(b, x);
    for (int i = 0; i < kTerms; ++i) objective += x[i] * Dot(a[i], x);
    if (objective >= best) continue;
    best = objective;
    for (int i = 0; i < kTerms; ++i) coefficients_[i] = scale[i] > 0 ? x[i] / scale[i] : 0;
  }
}

std::optional<double> CostModel::PredictSeconds(const engine::PrefillWork& work) const {
  if (chunks_ < kMinChunks) return std::nullopt;
  return Dot(coefficients_, Terms(work));
}

std::optional<double> CostModel::error() const {
  if (judged_ < kMinJudged) return std::nullopt;
  return error_sum_ / error_weight_;
}

bool CostModel::trusted() const {
  const std::optional<double> now = error();
  return now.has_value() && *now <= kTrustedError;
}

}  // namespace slimfill::scheduler

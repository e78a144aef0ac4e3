#include "engine/eval/summary.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace slimfill::eval {
namespace {

constexpr int kResamples = 2000;

double Mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Mean(const std::vector<Observed>& values) {
  std::vector<double> numbers;
  for (const Observed& observed : values) numbers.push_back(observed.value);
  return Mean(numbers);
}

// The values that `value` gives for the cases it gives one for.
using Cases = std::vector<const CaseResult*>;
std::vector<Observed> Collect(const Cases& cases, const std::function<bool(const CaseResult&, double&)>& value) {
  std::vector<Observed> values;
  for (const CaseResult* result : cases) {
    double number = 0;
    if (value(*result, number)) values.push_back({number, result->document_id});
  }
  return values;
}

size_t CountDocuments(const Cases& cases) {
  std::set<std::string> documents;
  for (const CaseResult* result : cases) documents.insert(result->document_id);
  return documents.size();
}

std::vector<Observed> Accuracy(const Cases& cases, const std::string& arm) {
  return Collect(cases, [&](const CaseResult& result, double& number) {
    number = result.by_arm.at(arm).right ? 1 : 0;
    return result.judged;
  });
}

std::vector<Observed> AccuracyDifference(const Cases& cases, const std::string& arm, const std::string& base) {
  return Collect(cases, [&](const CaseResult& result, double& number) {
    number = static_cast<double>(result.by_arm.at(arm).right) - static_cast<double>(result.by_arm.at(base).right);
    return result.judged;
  });
}

std::vector<Observed> NllDifference(const Cases& cases, const std::string& arm, const std::string& base) {
  return Collect(cases, [&](const CaseResult& result, double& number) {
    number = result.by_arm.at(arm).nll - result.by_arm.at(base).nll;
    return result.by_arm.at(arm).answer_tokens > 0;
  });
}

std::string FormatEstimate(const Estimate& estimate, double scale, int digits) {
  if (!estimate.has_interval) return absl::StrFormat("%+.*f", digits, estimate.mean * scale);
  return absl::StrFormat("%+.*f [%+.*f, %+.*f]", digits, estimate.mean * scale, digits, estimate.low * scale, digits,
                         estimate.high * scale);
}

// One arm's line.
std::string ArmRow(const Cases& cases, const std::string& arm, const std::string& base) {
  std::vector<double> speed, recall, fallbacks, swaps;
  for (const CaseResult* result : cases) {
    const RunResult& run = result->by_arm.at(arm);
    speed.push_back(std::log(run.flops_ratio));
    fallbacks.push_back(run.fallbacks.empty() ? 0 : 1);
    if (!run.recall.empty()) recall.push_back(run.recall.back());
    if (run.decode_steps > 0) swaps.push_back(static_cast<double>(run.swaps) / static_cast<double>(run.decode_steps));
  }
  const std::string recall_text = recall.empty() ? "-" : absl::StrFormat("%.1f %%", 100 * Mean(recall));
  return absl::StrFormat("| %s | %.1f %% | %s | %s | %.2fx | %s | %.0f %% | %.2f |\n", arm,
                         100 * Mean(Accuracy(cases, arm)),
                         FormatEstimate(BootstrapMean(AccuracyDifference(cases, arm, base)), 100, 1),
                         FormatEstimate(BootstrapMean(NllDifference(cases, arm, base)), 1, 3), std::exp(Mean(speed)),
                         recall_text, 100 * Mean(fallbacks), Mean(swaps));
}

// "kind 8192 tokens, question first".
std::string GroupName(const CaseResult& result) {
  return absl::StrCat(result.kind, " | ", result.target_tokens, result.question_first ? ", question first" : "");
}

}  // namespace

Estimate BootstrapMean(const std::vector<Observed>& values) {
  if (values.empty()) return {};
  std::map<std::string, size_t> index;
  std::vector<std::pair<double, int64_t>> documents;  // sum and count of their values, in the order of the first ones
  for (const Observed& observed : values) {
    const auto [entry, added] = index.try_emplace(observed.document_id, documents.size());
    if (added) documents.emplace_back(0, 0);
    documents[entry->second].first += observed.value;
    ++documents[entry->second].second;
  }
  std::mt19937_64 random(1);
  std::vector<double> means;
  for (int i = 0; i < kResamples; ++i) {
    double sum = 0;
    int64_t count = 0;
    for (size_t j = 0; j < documents.size(); ++j) {
      const auto& [document_sum, document_count] = documents[random() % documents.size()];
      sum += document_sum;
      count += document_count;
    }
    means.push_back(sum / static_cast<double>(count));
  }
  std::sort(means.begin(), means.end());
  return {.mean = Mean(values),
          .low = means[kResamples / 40],
          .high = means[kResamples - 1 - kResamples / 40],
          .has_interval = documents.size() > 1};
}

std::string SummaryTable(const std::vector<CaseResult>& results, const std::vector<std::string>& arms) {
  std::map<std::string, Cases> groups;
  Cases all;
  for (const CaseResult& result : results) {
    const bool complete =
        std::all_of(arms.begin(), arms.end(), [&](const std::string& arm) { return result.by_arm.contains(arm); });
    if (!complete) continue;
    all.push_back(&result);
    groups[GroupName(result)].push_back(&result);
  }
  const std::string& base = arms.front();
  std::string text = absl::StrFormat(
      "%d cases over %d documents run by all arms; differences to %s, 95 %% intervals by bootstrap of "
      "documents\n\n",
      all.size(), CountDocuments(all), base);
  absl::StrAppend(&text,
                  "| arm | accuracy | points | answer NLL | FLOPs ratio | evidence kept | fell back | swaps a step |\n",
                  "|---|---|---|---|---|---|---|---|\n");
  for (const std::string& arm : arms) absl::StrAppend(&text, ArmRow(all, arm, base));
  absl::StrAppend(&text, "\naccuracy (change of answer NLL)\n\n| kind | tokens | cases | documents |");
  for (const std::string& arm : arms) absl::StrAppend(&text, " ", arm, " |");
  absl::StrAppend(&text, "\n|---|---|---|---|");
  for (size_t i = 0; i < arms.size(); ++i) absl::StrAppend(&text, "---|");
  for (const auto& [name, cases] : groups) {
    absl::StrAppend(&text, "\n| ", name, " | ", cases.size(), " | ", CountDocuments(cases), " |");
    for (const std::string& arm : arms) {
      const std::string accuracy =
          cases.front()->judged ? absl::StrFormat("%.0f %%", 100 * Mean(Accuracy(cases, arm))) : "-";
      absl::StrAppendFormat(&text, " %s (%+.3f) |", accuracy, Mean(NllDifference(cases, arm, base)));
    }
  }
  return text + "\n";
}

}  // namespace slimfill::eval

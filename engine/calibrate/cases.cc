#include "engine/calibrate/cases.h"

#include <chrono>
#include <cstdio>

#include "base/must.h"
#include "engine/eval/generate.h"
#include "engine/eval/prompt.h"

namespace slimfill::calibrate {
namespace {

// "learning 12/36, 2 min left" on one line.
class Progress {
 public:
  Progress(const std::string& what, size_t total) : what_(what), total_(total) {}
  void Step() {
    ++done_;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    std::fprintf(stderr, "\r%s %zu/%zu, %.1f min left ", what_.c_str(), done_, total_,
                 seconds / 60 / static_cast<double>(done_) * static_cast<double>(total_ - done_));
  }
  ~Progress() { std::fprintf(stderr, "\n"); }

 private:
  const std::string what_;
  const size_t total_;
  size_t done_ = 0;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Shares of the depth whose heads are looked at, and whose links.
constexpr double kProbedDepth = 0.6, kLinkedDepth = 0.34;

Observation ObserveCase(engine::StudyEngine& engine, const eval::EvalCase& test_case) {
  const eval::CasePrompt prompt = Must(eval::RenderCase(engine, test_case));
  engine::SequenceRequest request;
  request.prompt = prompt.chat.tokens;
  request.last_user_content = prompt.chat.content_ranges.back();
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  const int layers = engine.info().model.layers;
  return {test_case.kind, test_case.target_tokens, prompt_tokens, prompt.evidence_blocks,
          Must(engine.StudyHeads(std::move(request), static_cast<int>(kProbedDepth * layers),
                                 static_cast<int>(kLinkedDepth * layers)))};
}

// Calls `use(id, document, make_case)` for each, up to the first for which it returns false; documents are made for
// those that ask for their case.
template <typename Use>
void ForEachCase(const engine::StudyEngine& engine, const Questions& questions, const std::string& what,
                 const Use& use) {
  const std::vector<eval::DocumentSpec> documents = eval::PlanDocuments({.lengths = questions.lengths,
                                                                         .cases = questions.cases,
                                                                         .kinds = questions.kinds,
                                                                         .seed = questions.seed,
                                                                         .shared = questions.shared});
  size_t total = 0;
  for (const eval::DocumentSpec& document : documents) total += document.questions.size();
  Progress progress(what, total);
  for (const eval::DocumentSpec& document : documents) {
    std::vector<eval::EvalCase> cases;
    for (size_t i = 0; i < document.questions.size(); ++i) {
      const auto make_case = [&]() -> const eval::EvalCase& {
        if (cases.empty()) cases = Must(eval::MakeCases(questions.corpus, engine.tokenizer(), document, false));
        return cases[i];
      };
      const bool go_on = use(eval::CaseName(document, document.questions[i]), document, make_case);
      progress.Step();
      if (!go_on) return;
    }
  }
}

}  // namespace

std::vector<Observation> Observe(engine::StudyEngine& engine, const Questions& questions, const std::string& what,
                                 ObservationFile& file) {
  std::vector<Observation> observations;
  ForEachCase(engine, questions, what, [&](const std::string& id, const eval::DocumentSpec&, const auto& make_case) {
    const Observation* known = file.Find(id);
    observations.push_back(known != nullptr ? *known : ObserveCase(engine, make_case()));
    if (known == nullptr) Must(file.Append(id, observations.back()));
    return true;
  });
  return observations;
}

std::vector<eval::CaseResult> RunCases(engine::StudyEngine& engine, const Questions& questions, const std::string& what,
                                       const std::vector<eval::Arm>& arms, const eval::RunOptions& options,
                                       const StopRule& stop) {
  std::vector<eval::CaseResult> results;
  ForEachCase(
      engine, questions, what, [&](const std::string& id, const eval::DocumentSpec& document, const auto& make_case) {
        const eval::EvalCase& test_case = make_case();
        eval::CaseResult& result = results.emplace_back(eval::CaseResult{.case_id = id,
                                                                         .document_id = eval::DocumentName(document),
                                                                         .kind = test_case.kind,
                                                                         .target_tokens = document.tokens,
                                                                         .judged = !test_case.accept.empty()});
        for (const eval::Arm& arm : arms) {
          result.by_arm[arm.name] = Must(eval::Run(engine, test_case, arm, options));
        }
        return stop == nullptr || !stop(results);
      });
  return results;
}

}  // namespace slimfill::calibrate

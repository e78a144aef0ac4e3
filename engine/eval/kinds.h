// The generators behind MakeCase: each makes a document with a question and leaves the checks to it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/eval/corpus.h"
#include "engine/eval/document.h"
#include "engine/eval/rng.h"
#include "engine/eval/task.h"
#include "engine/model/tokenizer.h"

namespace slimfill::eval {

struct Scene {
  const Corpus& corpus;
  const engine::Tokenizer& tokenizer;
  int64_t tokens;
  uint64_t seed;  // for what should not repeat from seed to seed; all else is drawn
  Rng& rng;
};

// They fill all but kind, seed, target_tokens and question_first. In questions, "{above}" stands for "above" or
// "below", by the question's place.
using Generator = absl::StatusOr<EvalCase> (*)(const Scene&);
absl::StatusOr<EvalCase> MakeNeedle(const Scene& scene);
absl::StatusOr<EvalCase> MakeMultiKey(const Scene& scene);
absl::StatusOr<EvalCase> MakeMultiValue(const Scene& scene);
absl::StatusOr<EvalCase> MakeVariables(const Scene& scene);
absl::StatusOr<EvalCase> MakeKeyValue(const Scene& scene);
absl::StatusOr<EvalCase> MakeCode(const Scene& scene);
absl::StatusOr<EvalCase> MakeMultiHop(const Scene& scene);
absl::StatusOr<EvalCase> MakeAggregate(const Scene& scene);
absl::StatusOr<EvalCase> MakeRealQa(const Scene& scene);
absl::StatusOr<EvalCase> MakeSummaryControl(const Scene& scene);
absl::StatusOr<EvalCase> MakeContinuation(const Scene& scene);

// What a passage says and whether the answer needs it.
struct Fact {
  std::string text;
  double depth = 0;
  bool is_evidence = false;
  bool is_module = false;  // as in Passage
};

// Composes the document and sets `document` and `evidence` of `eval_case`.
absl::Status PlantFacts(const Scene& scene, const std::vector<Fact>& facts, Filler filler, EvalCase& eval_case);

// `text` with each "{key}" replaced.
using Bindings = std::map<std::string, std::string>;
std::string Fill(absl::string_view text, const Bindings& bindings);

}  // namespace slimfill::eval

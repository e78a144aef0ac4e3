// The kinds of tasks: each draws a draft, a question with the passages that its document must hold.
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
  int64_t tokens;  // of the document
  int64_t room;    // what long passages take their share of: `tokens`, less where other questions need some too
  uint64_t seed;   // for what should not repeat from seed to seed; all else is drawn
  Rng& rng;
};

// What a passage says and which of its bytes the answer needs.
struct Fact {
  std::string text;
  double depth = 0;
  std::vector<ByteRange> evidence;  // in `text`
  bool is_module = false;           // as in Passage
  // What it says something of, in its own words: facts of two questions with the same subject would contradict each
  // other in one document. Empty: nothing in particular.
  std::string subject;
};

// A fact that is needed as a whole, or not at all.
Fact Statement(std::string text, double depth, bool is_evidence, std::string subject);

struct Draft {
  // All but kind, seed, target_tokens and question_first, and but document and evidence unless it brings its own. In
  // questions, "{above}" stands for "above" or "below", by the question's place.
  EvalCase eval_case;
  std::vector<Fact> facts;
  Filler filler = Filler::kProse;
  std::string once;  // text that must stand once in the document; or empty

  bool has_document() const { return !eval_case.document.empty(); }
};

// ABORTED when another draw may do better.
using Drafter = absl::StatusOr<Draft> (*)(const Scene&);
absl::StatusOr<Draft> DraftNeedle(const Scene& scene);
absl::StatusOr<Draft> DraftMultiKey(const Scene& scene);
absl::StatusOr<Draft> DraftMultiValue(const Scene& scene);
absl::StatusOr<Draft> DraftVariables(const Scene& scene);
absl::StatusOr<Draft> DraftKeyValue(const Scene& scene);
absl::StatusOr<Draft> DraftCode(const Scene& scene);
absl::StatusOr<Draft> DraftMultiHop(const Scene& scene);
absl::StatusOr<Draft> DraftAggregate(const Scene& scene);
absl::StatusOr<Draft> DraftRealQa(const Scene& scene);
absl::StatusOr<Draft> DraftSummaryControl(const Scene& scene);
absl::StatusOr<Draft> DraftContinuation(const Scene& scene);

// `count` questions about different rows of one table.
absl::StatusOr<std::vector<Draft>> DraftKeyValues(const Scene& scene, size_t count);

// What the document of a kind is made of: questions of kinds with the same ground can share one.
enum class Ground { kProse, kCode, kTable, kOwn };

struct Kind {
  const char* name;
  Drafter draft;
  Ground ground;
  // Whether what is accepted must stand nowhere else. Not for counts, for real texts, and where nothing is accepted.
  bool unique_answer;
  bool once_a_document;  // two of them would be in each other's way
};

const std::vector<Kind>& Kinds();
const Kind* FindKind(absl::string_view name);  // null: there is none

// `text` with each "{key}" replaced.
using Bindings = std::map<std::string, std::string>;
std::string Fill(absl::string_view text, const Bindings& bindings);

}  // namespace slimfill::eval

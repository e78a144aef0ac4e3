// From scores to kept blocks: pure functions on the host, the same for every backend. Blocks are numbered by absolute
// position (block b holds tokens [64 b, 64 b + 64)); candidates are the blocks that entered the stage, ascending.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "engine/model/tokenizer.h"
#include "engine/prune/plan.h"

namespace slimfill::engine {

using TokenRange = std::pair<int64_t, int64_t>;  // [first, second)

// The tokens that ask: their queries score, their blocks are pinned.
struct QuestionSegment {
  TokenRange tokens;
  bool before_document = false;  // long text follows it
};

// The request's own span if given; else, in a chat, the last user message's paragraph that asks; else the prompt's last
// 64 tokens. That is the last paragraph, or the first when only that one has a question, or points ahead ("the text
// below", "the following", a colon at its end) where the last one is longer than 64 tokens. A paragraph is text between
// blank lines; one of more than 256 tokens is no question.
QuestionSegment FindQuestion(absl::Span<const TokenId> prompt, const std::optional<TokenRange>& explicit_span,
                             const std::optional<TokenRange>& last_user_content, const Tokenizer& tokenizer);

// What a prompt whose question stands before its document has run behind its end, for the sake of its queries: made
// where the question stands, they know nothing of the document. The question again, and what closes the last user
// message (it asks, too); of both the last kMaxProbeTokens. Empty for other prompts.
inline constexpr int64_t kMaxProbeTokens = 256;
std::vector<TokenId> ProbeTokens(absl::Span<const TokenId> prompt, const QuestionSegment& question,
                                 const std::optional<TokenRange>& last_user_content);

int64_t BlockCount(int64_t tokens);  // ceil(tokens / 64)

// Blocks kept whatever they score: sinks, the last local ones, the question's. Ascending.
std::vector<int32_t> ForcedBlocks(const PrunePlan& plan, int64_t prompt_tokens, const QuestionSegment& question);

// How many blocks a stage keeps: its budget, plus forced blocks that the budget does not pay for (local ones beyond
// plan.budgeted_local_blocks, the question's), at least plan.min_blocks and all forced ones. `ratio_override` > 0
// replaces the plan's budget (PruningMode::kCustom). All blocks where the stage keeps a share of the mass, which is
// known only with the scores.
int64_t BlocksToKeep(const PrunePlan& plan, const PlanStage& stage, double ratio_override, int64_t prompt_tokens,
                     absl::Span<const int32_t> forced);

// How many blocks a stage keeps that keeps `mass` of the scores: the fewest that have this share of their sum, and the
// forced ones that are not among those.
int64_t BlocksForMass(absl::Span<const int32_t> candidates, absl::Span<const float> scores,
                      absl::Span<const int32_t> forced, double mass);

// What a stage keeps once the scores are known (PlanStage::keep_mass, keep_score): `budget` is what BlocksToKeep gave.
// `scores` as NormalizeScores leaves them.
int64_t BlocksToKeepByScore(const PrunePlan& plan, const PlanStage& stage, int64_t budget, int64_t prompt_tokens,
                            absl::Span<const int32_t> candidates, absl::Span<const float> scores,
                            absl::Span<const int32_t> forced);

// Block scores from the unit masses [candidates * 8] of one head: the largest of the block's own units, of the last
// `forward` units of the block before and of the first `backward` units of the block after (edge dilation: answers
// often straddle a border), where those blocks are candidates.
std::vector<float> DilatedBlockScores(absl::Span<const float> units, absl::Span<const int32_t> candidates, int forward,
                                      int backward);

// One link between units of the prompt: `from`'s tokens look back to `to`, with this share of their attention.
struct UnitLink {
  int32_t from = 0;
  int32_t to = 0;
  float mass = 0;
};

// Unit scores [candidates * 8] after `links.hops` hops: in each, the best `links.seeds` units (of equals the first)
// pass their score, times a link's mass and `links.weight`, to both what they look back to and what looks back at them;
// a unit keeps its best. Links from or to blocks that are forced or no candidates count for nothing. Scores are not
// negative.
std::vector<float> SpreadScores(absl::Span<const float> unit_scores, absl::Span<const int32_t> candidates,
                                absl::Span<const int32_t> forced, absl::Span<const UnitLink> unit_links,
                                const PlanLinks& links);

// Divides by the largest score outside `forced` (all of them when every candidate is forced).
void NormalizeScores(absl::Span<const int32_t> candidates, absl::Span<const int32_t> forced, absl::Span<float> scores);

// The element-wise maximum of both into `scores`.
void MaxInto(absl::Span<const float> other, absl::Span<float> scores);

// Scores of `candidates` taken from the scores of an earlier, larger set.
std::vector<float> CarryScores(absl::Span<const int32_t> earlier, absl::Span<const float> earlier_scores,
                               absl::Span<const int32_t> candidates);

// The same of unit scores, 8 a block.
std::vector<float> CarryUnitScores(absl::Span<const int32_t> earlier, absl::Span<const float> earlier_units,
                                   absl::Span<const int32_t> candidates);

// Baselines (ScoreKind::kRecency, kRandom, kGiven), in (0, 1].
std::vector<float> RecencyScores(absl::Span<const int32_t> candidates);
std::vector<float> RandomScores(absl::Span<const int32_t> candidates, int64_t seed);
std::vector<float> GivenScores(absl::Span<const int32_t> candidates, absl::Span<const int32_t> given);

// `keep` blocks (all forced ones, then the highest scores, ties to the lower block), ascending.
std::vector<int32_t> SelectBlocks(absl::Span<const int32_t> candidates, absl::Span<const float> scores,
                                  absl::Span<const int32_t> forced, int64_t keep);

// Which blocks decode exchanges: those of `known` that the scores would choose now for those of `active` that they
// would not, best for worst. Nothing when at least `overlap` of the active ones would stay; and a block comes in only
// for one that scores lower by more than `margin` of the best score outside `forced`.
struct BlockExchange {
  std::vector<int32_t> wanted;   // best first
  std::vector<int32_t> leaving;  // worst first; as many
};
BlockExchange ChooseExchange(absl::Span<const int32_t> known, absl::Span<const float> scores,
                             absl::Span<const int32_t> forced, absl::Span<const int32_t> active, double overlap,
                             double margin);

// How sure the scores are, over candidates that are not forced. Peak: the largest unit mass (0 with no candidate).
// Entropy: of the scores as a distribution, divided by log(count); 0 with fewer than two.
float PeakMass(absl::Span<const float> units, absl::Span<const int32_t> candidates, absl::Span<const int32_t> forced);
float NormalizedEntropy(absl::Span<const float> scores, absl::Span<const int32_t> candidates,
                        absl::Span<const int32_t> forced);

}  // namespace slimfill::engine

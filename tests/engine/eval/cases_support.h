// What every case of the evaluation must hold.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/eval/generate.h"
#include "engine/model/utf8.h"
#include "tests/engine/model/tokenizer_support.h"

namespace slimfill::eval {

inline const Corpus& HeldOut() {
  static const auto* corpus = [] {
    auto loaded = Corpus::Load(Split::kHeldOut);
    if (!loaded.ok()) throw std::runtime_error(loaded.status().ToString());
    return new Corpus(*std::move(loaded));
  }();
  return *corpus;
}

inline std::string Evidence(const EvalCase& eval_case) {
  std::string text;
  for (const auto& [begin, end] : eval_case.evidence) {
    absl::StrAppend(&text, eval_case.document.substr(begin, end - begin), "\n");
  }
  return text;
}

inline bool IsControl(const std::string& kind) { return kind == "summary_control" || kind == "continuation"; }
inline bool IsCount(const EvalCase& eval_case) { return absl::StrContains(eval_case.question, "How many"); }

inline void ExpectSound(const EvalCase& eval_case) {
  const auto tokens = slimfill::testing::GoldenTokenizer("smollm").Encode(eval_case.document, false);
  ASSERT_TRUE(tokens.ok());
  EXPECT_NEAR(static_cast<double>(tokens->size()), static_cast<double>(eval_case.target_tokens),
              0.02 * static_cast<double>(eval_case.target_tokens));
  EXPECT_EQ(engine::ValidUtf8Prefix(eval_case.document), eval_case.document.size());
  EXPECT_FALSE(eval_case.question.empty());
  EXPECT_THAT(eval_case.question, ::testing::Not(::testing::HasSubstr("{")));
  EXPECT_THAT(Evidence(eval_case), ::testing::Not(::testing::HasSubstr("{value}")));
  size_t at = 0;
  for (const auto& [begin, end] : eval_case.evidence) {
    EXPECT_LE(at, begin);
    EXPECT_LT(begin, end);
    EXPECT_LE(end, eval_case.document.size());
    at = end;
  }
  if (IsControl(eval_case.kind)) {
    EXPECT_TRUE(eval_case.accept.empty() && eval_case.evidence.empty());
    return;
  }
  EXPECT_FALSE(eval_case.evidence.empty());
  EXPECT_TRUE(IsRight(eval_case, eval_case.answer));
  EXPECT_TRUE(IsRight(eval_case, absl::StrCat("The answer is **", eval_case.answer, "**.")));
  EXPECT_FALSE(IsRight(eval_case, absl::StrCat("x", eval_case.answer, "7")));
  EXPECT_FALSE(IsRight(eval_case, "I do not know."));
  if (eval_case.kind == "aggregate" && IsCount(eval_case)) {
    EXPECT_EQ(absl::StrCat(eval_case.evidence.size()), eval_case.answer);
  } else {
    EXPECT_TRUE(IsRight(eval_case, Evidence(eval_case))) << Evidence(eval_case);
  }
}

}  // namespace slimfill::eval

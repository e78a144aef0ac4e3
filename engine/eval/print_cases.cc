// Prints cases of the evaluation for reading: questions, answers, evidence with the text around it.
#include <algorithm>
#include <cstdio>

#include "CLI/CLI.hpp"
#include "absl/strings/str_replace.h"
#include "base/must.h"
#include "engine/eval/generate.h"
#include "engine/model/source.h"

namespace slimfill::eval {
namespace {

void Print(const EvalCase& eval_case, size_t context) {
  std::printf("=== %s, seed %llu, %zu bytes\n", eval_case.kind.c_str(), static_cast<unsigned long long>(eval_case.seed),
              eval_case.document.size());
  std::printf("Q: %s\nA: %s\naccept (%s):", eval_case.question.c_str(), eval_case.answer.c_str(),
              eval_case.all_required ? "all" : "any");
  for (const std::string& accept : eval_case.accept) std::printf(" [%s]", accept.c_str());
  std::printf("\n");
  for (const auto& [begin, end] : eval_case.evidence) {
    const size_t from = begin - std::min(begin, context);
    const std::string& text = eval_case.document;
    std::printf("  at %.2f: %s>>>%s<<<%s\n", static_cast<double>(begin) / static_cast<double>(text.size()),
                text.substr(from, begin - from).c_str(), text.substr(begin, end - begin).c_str(),
                text.substr(end, context).c_str());
  }
  if (eval_case.evidence.empty()) {
    std::printf("  ends: %s\n",
                eval_case.document.substr(eval_case.document.size() - std::min<size_t>(eval_case.document.size(), 200))
                    .c_str());
  }
}

int Run(int argc, char** argv) {
  std::string model, kind;
  int64_t tokens = 2048;
  int seeds = 1;
  size_t context = 40;
  bool calibration = false, question_first = false, whole = false;
  CLI::App app{"Prints cases of the long-context evaluation"};
  app.add_option("--model", model, "GGUF file or directory, for its tokenizer")->required();
  app.add_option("--kind", kind, "one kind; all otherwise");
  app.add_option("--tokens", tokens, "of the document");
  app.add_option("--seeds", seeds, "cases per kind");
  app.add_option("--context", context, "bytes around the evidence");
  app.add_flag("--calibration", calibration, "from the calibration half of the corpus");
  app.add_flag("--question-first", question_first);
  app.add_flag("--document", whole, "print the documents too");
  CLI11_PARSE(app, argc, argv);

  const auto file = Must(engine::OpenModel(model));
  const auto tokenizer = Must(file->MakeTokenizer());
  const Corpus corpus = Must(Corpus::Load(calibration ? Split::kCalibration : Split::kHeldOut));
  std::printf("corpus %016llx: %zu texts, %zu licences, %zu modules\n",
              static_cast<unsigned long long>(corpus.fingerprint()), corpus.prose().size(), corpus.licences().size(),
              corpus.code().size());
  for (const std::string& name : TaskKinds()) {
    if (!kind.empty() && kind != name) continue;
    for (int seed = 1; seed <= seeds; ++seed) {
      const EvalCase made = Must(MakeCase(corpus, *tokenizer, name, tokens, seed, question_first));
      Print(made, context);
      if (whole) std::printf("---\n%s\n", made.document.c_str());
    }
  }
  return 0;
}

}  // namespace
}  // namespace slimfill::eval

int main(int argc, char** argv) { return slimfill::eval::Run(argc, argv); }

// What can be asked about Python code that stands in one place of it only.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/eval/document.h"

namespace slimfill::eval {

struct CodeFact {
  std::string question;  // with "{above}"
  std::string value;
  std::string definition;  // text that must stand once for the question to be clear
  std::vector<ByteRange> evidence;
};

// Defaults of parameters, single literal returns, messages of single errors, and constants, where the name is defined
// once and the value stands nowhere else in `code`.
std::vector<CodeFact> FindCodeFacts(absl::string_view code);

}  // namespace slimfill::eval

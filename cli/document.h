// The documents that a question is about, and the prompt made of both.
#pragma once

#include <string>
#include <vector>

namespace slimfill::cli {

struct Document {
  std::string name;
  std::string text;
};

// Reads files ("-" is standard input). Throws std::runtime_error naming file and remedy for one that cannot be read or
// is not UTF-8.
std::vector<Document> ReadDocuments(const std::vector<std::string>& files);

// The user's message: documents, then the question; the question also before them with `question_first`. Several
// documents get their names as headings.
std::string BuildPrompt(const std::vector<Document>& documents, const std::string& question, bool question_first);

}  // namespace slimfill::cli

#include "cli/document.h"

#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>

#include "engine/model/utf8.h"

namespace slimfill::cli {
namespace {

std::string ReadAll(std::istream& stream) { return {std::istreambuf_iterator<char>(stream), {}}; }

Document ReadDocument(const std::string& file) {
  Document document{file == "-" ? "standard input" : file, ""};
  if (file == "-") {
    document.text = ReadAll(std::cin);
  } else {
    std::ifstream stream(file, std::ios::binary);
    if (stream) document.text = ReadAll(stream);
    if (!stream || stream.bad()) throw std::runtime_error("--file " + file + ": cannot be read; is the path right?");
  }
  const size_t valid = engine::ValidUtf8Prefix(document.text);
  if (valid < document.text.size()) {
    throw std::runtime_error(document.name + ": byte " + std::to_string(valid) +
                             " is not UTF-8; convert it first, as with 'iconv -f latin1 -t utf-8'");
  }
  return document;
}

}  // namespace

std::vector<Document> ReadDocuments(const std::vector<std::string>& files) {
  std::vector<Document> documents;
  for (const std::string& file : files) documents.push_back(ReadDocument(file));
  return documents;
}

std::string BuildPrompt(const std::vector<Document>& documents, const std::string& question, bool question_first) {
  std::string prompt;
  if (question_first && !documents.empty()) prompt += question + "\n\n";
  for (const Document& document : documents) {
    if (documents.size() > 1) prompt += "File " + document.name + ":\n";
    prompt += document.text;
    prompt += document.text.empty() || document.text.back() != '\n' ? "\n\n" : "\n";
  }
  return prompt + question;
}

}  // namespace slimfill::cli

#include "engine/eval/corpus_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/eval/python_strings.h"
#include "engine/eval/source_text.h"

namespace slimfill::eval {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMinDocumentBytes = 1500;
constexpr size_t kMinDocstringBytes = 200;
// Tables, generated files and what differs from machine to machine.
constexpr absl::string_view kNotCode[] = {"__pycache__", "dist-packages", "site-packages", "encodings",
                                          "pydoc_data",  "test",          "tests",         "config-3",
                                          "pgen2",       "tkinter",       "html/entities"};

// The regular files below `root`, links aside, as paths relative to it, sorted.
std::vector<std::string> ListFiles(const fs::path& root) {
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator files(root, fs::directory_options::skip_permission_denied, error);
  for (; !error && files != fs::recursive_directory_iterator(); files.increment(error)) {
    std::error_code ignored;
    if (files->is_symlink(ignored) || !files->is_regular_file(ignored)) continue;
    names.push_back(fs::relative(files->path(), root, ignored).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The newest python3.N below `parent`; empty when there is none.
fs::path FindPython(const std::string& parent) {
  fs::path newest;
  int newest_minor = -1;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    absl::string_view version = name;
    int minor = 0;
    if (!absl::ConsumePrefix(&version, "python3.") || !absl::SimpleAtoi(version, &minor)) continue;
    if (minor > newest_minor && fs::exists(entry->path() / "json", error)) {
      newest_minor = minor;
      newest = entry->path();
    }
  }
  return newest;
}

bool IsCode(absl::string_view name) {
  if (!absl::EndsWith(name, ".py") || absl::StrContains(name, "_sysconfigdata")) return false;
  const std::string folders = absl::StrCat("/", name);
  return std::none_of(std::begin(kNotCode), std::end(kNotCode), [&folders](absl::string_view folder) {
    return absl::StrContains(folders, absl::StrCat("/", folder));
  });
}

void AddDocument(std::string name, absl::string_view text, std::vector<SourceText>& documents) {
  std::string clean = CleanText(text, /*max_blank_lines=*/1);
  if (clean.size() >= kMinDocumentBytes) documents.push_back({std::move(name), std::move(clean)});
}

void ReadLicences(const std::string& root, CorpusFiles& files) {
  std::set<std::string> known;
  std::vector<std::string> names = ListFiles(root);
  // GPL is a copy of GPL-3 where it is no link to it: the longer name is the exact one.
  std::sort(names.begin(), names.end(), std::greater<>());
  for (const std::string& name : names) {
    std::string text = CleanText(ReadFile(fs::path(root) / name), /*max_blank_lines=*/1);
    if (known.insert(text).second) files.licences.push_back({name, std::move(text)});
  }
  std::reverse(files.licences.begin(), files.licences.end());
}

void ReadPython(const fs::path& root, CorpusFiles& files) {
  for (const auto& [topic, text] : ReadPythonStringDict(ReadFile(root / "pydoc_data" / "topics.py"))) {
    AddDocument(absl::StrCat("topic/", topic), text, files.documentation);
  }
  for (const std::string& name : ListFiles(root)) {
    if (!IsCode(name)) continue;
    const std::string source = ReadFile(root / name);
    std::string docstrings;
    for (const std::string& docstring : ReadDocstrings(source)) {
      if (docstring.size() >= kMinDocstringBytes) absl::StrAppend(&docstrings, docstring, "\n\n");
    }
    AddDocument(absl::StrCat("docstrings/", name), docstrings, files.documentation);
    std::string code = CleanText(source, /*max_blank_lines=*/2);
    if (code.size() >= kMinDocumentBytes) files.code.push_back({name, std::move(code)});
  }
}

void ReadPerl(const std::string& root, CorpusFiles& files) {
  for (const std::string& name : ListFiles(root)) {
    if (!absl::EndsWith(name, ".pod") && !absl::EndsWith(name, ".pm")) continue;
    // Licences are read elsewhere; Config.pod is a table of how this very perl was built.
    if (absl::EndsWith(name, "perlgpl.pod") || absl::EndsWith(name, "perlartistic.pod")) continue;
    if (absl::EndsWith(name, "Config.pod")) continue;
    const size_t version_end = name.find('/');
    if (version_end == std::string::npos) continue;
    AddDocument(absl::StrCat("pod", name.substr(version_end)), PodText(ReadFile(fs::path(root) / name)),
                files.documentation);
  }
}

}  // namespace

absl::StatusOr<CorpusFiles> ReadCorpusFiles(const CorpusRoots& roots) {
  CorpusFiles files;
  ReadLicences(roots.licences, files);
  if (files.licences.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no licence texts in ", roots.licences, ": they are in Debian's package base-files"));
  }
  const fs::path python = FindPython(roots.python_parent);
  if (python.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no Python library in ", roots.python_parent, "/python3.*: install Debian's package python3"));
  }
  ReadPython(python, files);
  for (const std::string& root : roots.perl) ReadPerl(root, files);
  const auto by_name = [](const SourceText& a, const SourceText& b) { return a.name < b.name; };
  std::sort(files.documentation.begin(), files.documentation.end(), by_name);
  return files;
}

}  // namespace slimfill::eval

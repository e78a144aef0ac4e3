// Unicode normalisation form C (canonical composition), with the way back to offsets in the original text.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace slimfill::engine {

// Immutable. The characters' properties are ICU's; the algorithm is our own because ICU's orders combining marks by
// insertion, which takes minutes for a megabyte of them.
class NfcText {
 public:
  // `text` is valid UTF-8 and is borrowed: most text is in form C already and is not copied. O(n log n), linear but for
  // the sorting of runs of combining marks.
  explicit NfcText(absl::string_view text);

  absl::string_view text() const { return changes_.empty() ? original_ : absl::string_view(normalized_); }
  // The offset in the original text that corresponds to `offset` in text(). Inside a stretch that normalisation
  // changed: that stretch's end.
  size_t OriginalOffset(size_t offset) const;

 private:
  struct Change {
    size_t begin, end;    // in the normalized text
    size_t original_end;  // in the original
  };
  void AppendSegment(size_t begin, size_t end);

  absl::string_view original_;
  std::string normalized_;  // complete only when there are changes
  std::vector<Change> changes_;
};

}  // namespace slimfill::engine

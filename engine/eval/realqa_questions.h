// Questions about the licence texts that every Debian machine has, with their answers and the words that hold them.
#pragma once

#include <string>
#include <vector>

namespace slimfill::eval {

struct RealQuestion {
  const char* licence;  // the file's name
  const char* question;
  const char* answer;
  std::vector<std::string> accept;
  const char* evidence;  // stands in the licence once, white space aside
};

const std::vector<RealQuestion>& RealQuestions();

// "the GNU General Public License, version 2", for the file's name.
std::string LicenceTitle(const std::string& licence);

}  // namespace slimfill::eval

// Names and values that facts are made of.
#pragma once

#include <string>
#include <vector>

#include "engine/eval/rng.h"

namespace slimfill::eval {

const std::vector<std::string>& Adjectives();
const std::vector<std::string>& Nouns();    // places and things that can have a code, a keeper, a date
const std::vector<std::string>& Animals();  // code words
const std::vector<std::string>& FirstNames();
const std::vector<std::string>& LastNames();
const std::vector<std::string>& Cities();
const std::vector<std::string>& TeamNames();

// `count` phrases "amber lighthouse", all different. Half of those after the first share a word with it.
std::vector<std::string> DrawThings(size_t count, Rng& rng);
// `count` full names, no two with a name in common.
std::vector<std::string> DrawPeople(size_t count, Rng& rng);
// `count` different numbers of `digits` digits.
std::vector<std::string> DrawNumbers(size_t count, int digits, Rng& rng);
// Code words "falcon-4821".
std::vector<std::string> DrawCodeWords(size_t count, Rng& rng);

// A date with all the ways of writing it that count as the same.
struct Date {
  std::string text;
  std::vector<std::string> spellings;
};
Date DrawDate(Rng& rng);

}  // namespace slimfill::eval

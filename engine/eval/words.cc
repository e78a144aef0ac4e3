#include "engine/eval/words.h"

#include <algorithm>
#include <cstdint>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace slimfill::eval {

using Words = std::vector<std::string>;

const Words& Adjectives() {
  static const auto* words = new Words{
      "amber",  "azure",  "bronze",  "cobalt", "copper",   "coral",  "crimson",  "emerald", "golden", "granite",
      "indigo", "ivory",  "jade",    "maroon", "northern", "ochre",  "olive",    "opal",    "pearl",  "purple",
      "ruby",   "russet", "saffron", "sandy",  "scarlet",  "silver", "southern", "tawny",   "umber",  "violet"};
  return *words;
}

const Words& Nouns() {
  static const auto* words = new Words{
      "archive",    "bakery",     "brewery",  "cellar", "chapel",  "clinic",      "depot",    "dockyard",  "factory",
      "ferry",      "foundry",    "gallery",  "garage", "granary", "greenhouse",  "harbour",  "hostel",    "kiosk",
      "laboratory", "lighthouse", "mill",     "museum", "nursery", "observatory", "orchard",  "pavilion",  "pumphouse",
      "quarry",     "sawmill",    "shipyard", "stable", "theatre", "vault",       "vineyard", "warehouse", "windmill"};
  return *words;
}

const Words& Animals() {
  static const auto* words =
      new Words{"badger", "bison",   "condor", "cormorant", "falcon", "gazelle", "heron",  "ibex",
                "jackal", "kestrel", "lemur",  "lynx",      "marmot", "marten",  "otter",  "pelican",
                "puffin", "raven",   "salmon", "stork",     "tapir",  "walrus",  "weasel", "wombat"};
  return *words;
}

const Words& FirstNames() {
  static const auto* words =
      new Words{"Adela",   "Anton",   "Beatrix", "Bruno",  "Celia",  "Conrad", "Dagmar", "Dorian", "Edith",
                "Emil",    "Fiona",   "Gideon",  "Greta",  "Hector", "Helga",  "Igor",   "Ines",   "Jasper",
                "Judith",  "Kasimir", "Leonora", "Lorenz", "Mabel",  "Magnus", "Nadia",  "Oskar",  "Petra",
                "Quentin", "Ramona",  "Rufus",   "Selma",  "Tobias", "Ursula", "Viktor", "Wilma",  "Yusuf"};
  return *words;
}

const Words& LastNames() {
  static const auto* words =
      new Words{"Abernathy", "Ashdown",   "Barlow",    "Birkett",      "Calloway",  "Castellan",    "Drummond",
                "Eastman",   "Fairbanks", "Falkner",   "Gallagher",    "Goodwin",   "Halloran",     "Hawthorne",
                "Ibsen",     "Jankowski", "Kowalski",  "Lindqvist",    "Marchetti", "Merriweather", "Novak",
                "Okafor",    "Pemberton", "Quigley",   "Rasmussen",    "Sandoval",  "Stanhope",     "Thornbury",
                "Underhill", "Valverde",  "Whitfield", "Winterbourne", "Yamada",    "Zielinski"};
  return *words;
}

const Words& Cities() {
  static const auto* words = new Words{"Aarhus",    "Antwerp", "Bergen",    "Bilbao",  "Bologna", "Brno",    "Cork",
                                       "Dresden",   "Esbjerg", "Galway",    "Gdansk",  "Ghent",   "Graz",    "Haarlem",
                                       "Innsbruck", "Kaunas",  "Lausanne",  "Linz",    "Malmo",   "Nantes",  "Odense",
                                       "Porto",     "Rijeka",  "Salamanca", "Tampere", "Trieste", "Utrecht", "Verona"};
  return *words;
}

const Words& TeamNames() {
  static const auto* words =
      new Words{"Almanac",  "Beacon",  "Cascade",    "Drumlin", "Everest",  "Foxglove", "Gantry", "Halcyon",
                "Ironwood", "Juniper", "Kingfisher", "Lantern", "Meridian", "Nimbus",   "Orchid", "Palisade",
                "Quasar",   "Redwood", "Sextant",    "Tundra",  "Umbra",    "Vanguard", "Wharf",  "Zephyr"};
  return *words;
}

Words DrawThings(size_t count, Rng& rng) {
  const std::string adjective = rng.Pick(Adjectives());
  const std::string noun = rng.Pick(Nouns());
  Words things = {absl::StrCat(adjective, " ", noun)};
  std::set<std::string> drawn = {things.front()};
  while (things.size() < count) {
    const uint64_t likeness = rng.Below(4);  // half of them share a word with the first
    const std::string other_adjective = rng.Pick(Adjectives());
    const std::string other_noun = rng.Pick(Nouns());
    std::string thing =
        absl::StrCat(likeness == 0 ? adjective : other_adjective, " ", likeness == 1 ? noun : other_noun);
    if (drawn.insert(thing).second) things.push_back(std::move(thing));
  }
  return things;
}

Words DrawPeople(size_t count, Rng& rng) {
  const Words first = rng.Sample(FirstNames(), count);
  const Words last = rng.Sample(LastNames(), count);
  Words people;
  for (size_t i = 0; i < count; ++i) people.push_back(absl::StrCat(first[i], " ", last[i]));
  return people;
}

Words DrawNumbers(size_t count, int digits, Rng& rng) {
  int64_t first = 1;
  for (int i = 1; i < digits; ++i) first *= 10;
  std::set<int64_t> drawn;
  Words numbers;
  while (numbers.size() < count) {
    const int64_t number = rng.Between(first, 10 * first - 1);
    if (drawn.insert(number).second) numbers.push_back(absl::StrCat(number));
  }
  return numbers;
}

Words DrawCodeWords(size_t count, Rng& rng) {
  const Words animals = rng.Sample(Animals(), count);
  const Words numbers = DrawNumbers(count, 4, rng);
  Words words;
  for (size_t i = 0; i < count; ++i) words.push_back(absl::StrCat(animals[i], "-", numbers[i]));
  return words;
}

Date DrawDate(Rng& rng) {
  static const auto* months = new Words{"January", "February", "March",     "April",   "May",      "June",
                                        "July",    "August",   "September", "October", "November", "December"};
  const auto month = static_cast<int>(rng.Below(12));
  const auto day = static_cast<int>(rng.Between(1, 28));
  const auto year = static_cast<int>(rng.Between(1871, 2038));
  const std::string& name = (*months)[month];
  const char* suffix = day % 10 == 1 && day != 11   ? "st"
                       : day % 10 == 2 && day != 12 ? "nd"
                       : day % 10 == 3 && day != 13 ? "rd"
                                                    : "th";
  Date date;
  date.spellings = {absl::StrCat(day, " ", name, " ", year),
                    absl::StrCat(name, " ", day, ", ", year),
                    absl::StrCat(name, " ", day, " ", year),
                    absl::StrCat(day, suffix, " ", name, " ", year),
                    absl::StrCat(day, suffix, " of ", name, " ", year),
                    absl::StrCat(day, suffix, " of ", name, ", ", year),
                    absl::StrCat(name, " ", day, suffix, ", ", year),
                    absl::StrCat(name, " ", day, suffix, " ", year),
                    absl::StrFormat("%04d-%02d-%02d", year, month + 1, day)};
  date.text = date.spellings[rng.Below(2)];
  return date;
}

}  // namespace slimfill::eval

#!/usr/bin/env python3
"""Makes the tokenizer goldens: texts and the token ids that HF's tokenizers give for them.

Needs Python with transformers, tokenizers and gguf, and the two models of scripts/setup.sh; the tests need neither.

    make_tokenizer_goldens.py                 rewrites tests/golden/tokenizer
    make_tokenizer_goldens.py --full FOLDER   a corpus some ten times larger, with this machine's Python library in it;
                                              compare with SLIMFILL_TOKENIZER_GOLDENS=FOLDER tokenizer_test
"""

import argparse
import glob
import json
import os
import random
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODELS = os.path.join(os.environ.get("SLIMFILL_HOME", os.path.expanduser("~/.cache/slimfill")), "models")
QWEN = "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"
SMOLLM = "SmolLM2-135M-Instruct.Q4_1.gguf"

SENTENCES = [
    "The pump was serviced in March, and it hasn't leaked since; they'll look at it again in the autumn.",
    "We've read 3,141 pages (about 1.2 million words) and I'd say that you're right: it doesn't matter.",
    "Who's there? It's me, I'm late, we'd better go. THEY'RE WAITING, and SHE'S not. 'Twas the night o' the long knives.",
    "A widespread misunderstanding of international agreements: uncharacteristically, incomprehensibilities multiplied.",
    "Dr. Müller's naïve café owner in Zürich paid €4,50 for a crème brûlée; the coöperative façade cost £1,299.99.",
    "Die Straße zur Brücke ist während der Bauarbeiten für drei Wochen gesperrt, sagte die Sprecherin gestern.",
    "L'élève a oublié ses clés à l'école, où l'on n'avait pas encore fermé la grille principale.",
    "El año pasado la señora compró doce manzanas, ¿verdad? ¡Qué sorpresa! Después volvió a Córdoba.",
    "Zażółć gęślą jaźń, powiedział dziadek, a potem długo patrzył na rzekę i milczał.",
    "İstanbul'da yağmur yağıyordu; çocuklar ışıkların altında koşuyor, şarkı söylüyordu.",
    "Mùa thu năm ngoái, chúng tôi đã đi bộ quanh hồ và nói chuyện về những cuốn sách cũ.",
    "Старый мост через реку закрыли на ремонт, и жителям пришлось ездить в объезд почти два месяца.",
    "Η παλιά γέφυρα έκλεισε για επισκευές και οι κάτοικοι περίμεναν υπομονετικά στην όχθη.",
    "老桥因维修而关闭，居民们不得不绕行将近两个月。昨天下午三点，工人们终于把最后一块石板放好了。",
    "昔の橋は修理のために閉鎖され、住民はほぼ二か月間、遠回りをしなければならなかった。カタカナとひらがな。",
    "오래된 다리가 수리를 위해 폐쇄되어 주민들은 거의 두 달 동안 우회해야 했습니다.",
    "أُغلق الجسر القديم للصيانة، واضطر السكان إلى سلوك طريق أطول مدة شهرين تقريبًا.",
    "הגשר הישן נסגר לתיקונים, והתושבים נאלצו לעקוף אותו במשך כחודשיים.",
    "پل قدیمی برای تعمیر بسته شد و ساکنان نزدیک به دو ماه ناچار بودند راه دورتری بروند؛ می‌گویند تمام شد.",
    "पुराना पुल मरम्मत के लिए बंद कर दिया गया और निवासियों को लगभग दो महीने तक घूमकर जाना पड़ा।",
    "পুরোনো সেতুটি মেরামতের জন্য বন্ধ ছিল, তাই সবাইকে প্রায় দুই মাস ঘুরে যেতে হয়েছিল।",
    "பழைய பாலம் பழுதுபார்க்க மூடப்பட்டதால் மக்கள் இரண்டு மாதங்கள் சுற்றிச் சென்றனர்.",
    "สะพานเก่าปิดซ่อมแซม ชาวบ้านต้องอ้อมไปไกลเกือบสองเดือนกว่าจะเสร็จ",
    "👩‍👩‍👧‍👦 went to 🇨🇭 and 🇯🇵 with 👍🏽 and 🏳️‍🌈; ❤️‍🔥 means love, 1️⃣2️⃣3️⃣ counts, ☕️ helps.",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β → ½·π ≈ 1.5708, x² + y³ ≤ z⁴, Ⅷ Ⅻ ㊿ ٣٤٥ ४५६ ๑๒๓",
    "{\"key\": [1, 22, 333, 4444, 55555], \"nested\": {\"a\\tb\": null}}  // 0x1F600 -1.5e-10 #!/bin/sh $HOME ~/.ssh",
    "<div class=\"x\">&nbsp;</div>\r\n\r\n\tif (a<=b && c!=d) { return *p++ == '\\0'; }  /* ... */ @decorator(*args, **kw)",
    "https://example.org/a/b?c=d&e=%20f#g user.name+tag@example.co.uk 192.168.0.1:8080 2024-02-29T23:59:60.123Z",
]
RANGES = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF),
    (0x531, 0x58A), (0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FE), (0xB80, 0xBFA), (0xE01, 0xE5B),
    (0xF00, 0xFDA), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137C), (0x1780, 0x17F9), (0x1800, 0x18AA),
    (0x1DC0, 0x1DFF), (0x1E00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x20BF), (0x2100, 0x218B), (0x2190, 0x23FF),
    (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2C00, 0x2DFF), (0x3000, 0x30FF), (0x3131, 0x318E), (0x3220, 0x33FF),
    (0x4E00, 0x9FFC), (0xA640, 0xA7BF), (0xAC00, 0xD7A3), (0xD7B0, 0xD7FB), (0xF900, 0xFAD9), (0xFB00, 0xFDFF),
    (0xFE00, 0xFE6F), (0xFE70, 0xFEFF), (0xFF01, 0xFFEF), (0x10000, 0x100FA), (0x10330, 0x1034A), (0x11000, 0x1104D),
    (0x11080, 0x110C1), (0x16FE0, 0x16FF1), (0x1D15E, 0x1D1E8), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF),
    (0x1F300, 0x1FAFF), (0x20000, 0x2A6DD), (0x2F800, 0x2FA1D), (0xE0001, 0xE007F), (0xE0100, 0xE01EF),
    (0xF0000, 0xF00FF),
]
SPACES = [" ", " ", " ", "\n", "\t", "\r\n", "\r", "\v", "\f", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u2029",
          "\u202f", "\u3000", "\u180e", "\u200b", "\ufeff"]


def comparable(code_point):
    """Whether Python, ICU and HF agree on the character: assigned, and in the Unicode version of HF's NFC."""
    character = chr(code_point)
    if unicodedata.category(character) in ("Cn", "Cs"):
        return False
    hf = normalizers.NFC()
    marks = "\u0345\u0301\u0323\u0f71\u05b0\u094d\u3099"  # of many combining classes, none in order
    texts = (character, f"a{marks}{character}{marks}", f"{character}{marks}")
    return all(hf.normalize_str(text) == unicodedata.normalize("NFC", text) for text in texts)


POOLS = [[chr(c) for c in range(low, high + 1) if comparable(c)] for low, high in RANGES]
MARKS = [chr(c) for c in range(0x300, 0x1E95A) if unicodedata.combining(chr(c)) and comparable(c)]
DIGITS = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) in ("Nd", "Nl", "No")]


def random_text(rng):
    """One document of a random kind."""
    kind = rng.randrange(12)
    words = rng.choice(SENTENCES).split(" ")
    if kind == 0:  # characters of one script
        pool = rng.choice(POOLS)
        return "".join(rng.choice(pool) if rng.random() < 0.85 else rng.choice(" .,\n'1") for _ in range(rng.randrange(5, 120)))
    if kind == 1:  # of all scripts
        return "".join(rng.choice(rng.choice(POOLS)) for _ in range(rng.randrange(5, 60)))
    if kind == 2:  # white space of every kind between words
        return "".join(w + "".join(rng.choice(SPACES) for _ in range(rng.randrange(0, 5))) for w in words)
    if kind == 3:  # runs of spaces, tabs and newlines
        return "".join(rng.choice([" ", "\t", "\n", "\r\n", " \n", w]) * rng.randrange(1, 9) for w in words[:12])
    if kind == 4:  # numbers
        return "".join("".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 12))) +
                       rng.choice([" ", ",", ".", "", "  ", "-", "x", "\n", rng.choice(DIGITS)]) for _ in range(20))
    if kind == 5:  # combining marks, also in long runs and not in order
        return "".join(rng.choice("aeiouAcnq가각ก") + "".join(rng.choice(MARKS) for _ in range(rng.randrange(0, 6)))
                       for _ in range(15)) + "x" + "".join(rng.choice(MARKS) for _ in range(rng.randrange(0, 60)))
    if kind == 6:  # decomposed and otherwise normalized sentences
        return unicodedata.normalize(rng.choice(["NFD", "NFKD", "NFKC"]), " ".join(words))
    if kind == 7:  # long words
        return "".join(rng.choice("etaoinshrdlucmfwypvbgkjqxz") for _ in range(rng.randrange(30, 300)))
    if kind == 8:  # contractions, in and out of place
        return "".join(rng.choice(["'s", "'t", "'RE", "'ve", "'M", "'ll", "'D", "'\u017f", "'\ufb06", "'lL", "'x", "''", " '",
                                   "a", "Z", "1", " ", "\n", "’s", "'Ll", "'v", "'r", "é"]) for _ in range(rng.randrange(3, 40)))
    if kind == 9:  # punctuation
        return "".join(rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \n\ta1€–—…«»“”") * rng.randrange(1, 4) for _ in range(30))
    if kind == 10:  # control characters and what looks like special tokens
        return "".join(rng.choice([chr(rng.randrange(0, 32)), "\x7f", "\x9f", "<|", "|>", "<|im_", "end|>", "<tool_call", "</",
                                   ">", "a", " "]) for _ in range(rng.randrange(5, 40)))
    rng.shuffle(words)
    return " ".join(words) + rng.choice(["", " ", "\n", "\n\n"]) + rng.choice(SENTENCES)


def chunks(paths, rng, lines):
    """Texts of some lines each from files."""
    for path in paths:
        with open(path, encoding="utf-8", errors="ignore") as file:
            content = file.read().splitlines(keepends=True)
        begin = 0
        while begin < len(content):
            end = begin + rng.randrange(1, lines)
            yield "".join(content[begin:end])
            begin = end


def own_sources():
    patterns = ["base/*.h", "base/*.cc", "kvstore/api/*.h", "engine/model/gguf.h", "scripts/*.sh", "CMakePresets.json"]
    return sorted(path for pattern in patterns for path in glob.glob(os.path.join(ROOT, pattern)))


def make_corpus(full):
    rng = random.Random(20250806)
    texts = ["", " ", "\n", "a", "'", "\u0301", "\ufeff"] + SENTENCES + ["\n".join(SENTENCES)]
    texts += list(chunks(own_sources(), rng, 25))[: 2000 if full else 90]
    texts += [random_text(rng) for _ in range(6000 if full else 1000)]
    if full:
        library = sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "*.py")))
        licences = sorted(glob.glob("/usr/share/common-licenses/*"))
        texts += list(chunks(library[:60] + licences, rng, 60))[:6000]
    return texts


SPECIAL_TEXTS = [
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "a<|im_end|>b", " <|im_end|> <|endoftext|>\n\n",
    "<tool_call>{\"name\": 1}</tool_call>", "x <tool_call> y", "<|im_end|<|im_end|>|>", "<|endoftext|><|endoftext|>",
    "e\u0301<|im_start|>\u0301e", "<|IM_END|>", "<|im_end", "<repo_name>a<file_sep>b<|repo_name|>c<|file_sep|>",
    "12<|im_end|>34  <|im_end|>  5", "<tool_call><|im_end|></tool_call>", "[PAD151700]",
]


def encode(backend, text, control):
    backend.encode_special_tokens = not control
    return backend.encode(text, add_special_tokens=False).ids


def golden(backend, texts, count):
    return {"ids": [encode(backend, text, False) for text in texts[:count]],
            "special": [{"text": text, "control": encode(backend, text, True), "plain": encode(backend, text, False)}
                        for text in SPECIAL_TEXTS]}


def load(file):
    return AutoTokenizer.from_pretrained(MODELS, gguf_file=file)


def completed(tokenizer, pre):
    """GGUF names the pre-tokenizer only and transformers ignores the name; tests/golden/README.md says where these are from."""
    backend = tokenizer.backend_tokenizer
    if pre == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizer(pre)
    return tokenizer


def pre_tokenizer(pre):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre in ("gpt-2", "smollm"))
    cl100k = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+")
    before = {
        "gpt-2": [],
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "qwen2": [pre_tokenizers.Split(Regex(cl100k % ""), "isolated")],
        "llama-bpe": [pre_tokenizers.Split(Regex(cl100k % "{1,3}"), "isolated")],
    }[pre]
    return pre_tokenizers.Sequence(before + [byte_level])


SMALL_CONTROL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                 "<|im_start|>", "<|im_end|>"]
SMALL_USER_DEFINED = ["<tool_call>", "</tool_call>"]
# Words that no merge makes: only a tokenizer that looks whole words up finds them.
SMALL_UNREACHABLE = ["Ġwidespread", "Straße".encode().decode("latin-1").replace("\x9f", "Ł"), "123"]


def small_vocabulary(texts):
    """A vocabulary of 1,500 tokens trained on the corpus, so that tests without a model have merges of every script."""
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = pre_tokenizer("llama-bpe")
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                             show_progress=False)
    trained.train_from_iterator(texts, trainer)
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    tokens += [token for token in SMALL_UNREACHABLE if token not in model["vocab"]]
    return {"tokens": tokens, "merges": [" ".join(pair) for pair in model["merges"]], "control": SMALL_CONTROL,
            "user_defined": SMALL_USER_DEFINED}


def small_tokenizer(vocabulary, pre):
    model = tokenizers.models.BPE(vocab={token: i for i, token in enumerate(vocabulary["tokens"])},
                                  merges=[tuple(merge.split(" ")) for merge in vocabulary["merges"]],
                                  ignore_merges=pre == "llama-bpe")
    backend = tokenizers.Tokenizer(model)
    if pre == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizer(pre)
    backend.add_special_tokens(vocabulary["control"])
    backend.add_tokens([tokenizers.AddedToken(text, normalized=False) for text in vocabulary["user_defined"]])
    return backend


LLAMA3_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")


def conversations():
    user = lambda text: {"role": "user", "content": text}
    assistant = lambda text: {"role": "assistant", "content": text}
    system = lambda text: {"role": "system", "content": text}
    return [
        [user("Hello")],
        [system("You are terse."), user("When was the pump serviced?")],
        [system(""), user("")],
        [user("\n\nlines first"), assistant("  spaces first"), user("last \n")],
        [user("123"), assistant("\t\n 4 "), user("\u3000全角\u00a0"), assistant("e\u0301"), user("\u0301 mark first")],
        [system(SENTENCES[0]), user("\n".join(SENTENCES[5:20])), assistant(SENTENCES[3]), user(SENTENCES[23])],
        [user("call <tool_call> not"), assistant("👩‍👩‍👧‍👦\n")],
        [assistant("I begin."), user("\x1c\x85 odd spaces \x1f")],
    ]


def chat_goldens(name, tokenizer):
    return {"name": name, "template": tokenizer.chat_template, "cases": [
        {"messages": messages,
         "ids": tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)}
        for messages in conversations()]}


def write(folder, name, value):
    """One list element a line, so that a change shows where it is."""
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        if isinstance(value, list):
            file.write("[\n" + ",\n".join(json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in value) + "\n]\n")
        else:
            items = ",\n".join(f'"{k}": ' + ("[\n" + ",\n".join(json.dumps(v, ensure_ascii=False, separators=(",", ":"))
                                                               for v in vs) + "\n]" if isinstance(vs, list) and vs and not isinstance(vs[0], str)
                                            else json.dumps(vs, ensure_ascii=False, separators=(",", ":"))) for k, vs in value.items())
            file.write("{\n" + items + "\n}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", metavar="FOLDER")
    args = parser.parse_args()
    folder = args.full or os.path.join(HERE, "tokenizer")
    os.makedirs(folder, exist_ok=True)
    texts = make_corpus(bool(args.full))
    write(folder, "corpus.json", texts)

    models = {"qwen2": completed(load(QWEN), "qwen2"), "smollm": completed(load(SMOLLM), "smollm")}
    for pre, tokenizer in models.items():
        result = golden(tokenizer.backend_tokenizer, texts, len(texts))
        write(folder, f"{pre}.json", result)
        print(pre, len(texts), "texts,", sum(map(len, result["ids"])), "tokens")

    vocabulary = small_vocabulary(make_corpus(False))
    write(folder, "small_vocabulary.json", vocabulary)
    for pre in ("gpt-2", "smollm", "qwen2", "llama-bpe"):
        result = golden(small_tokenizer(vocabulary, pre), texts, len(texts) if args.full else 420)
        write(folder, f"small_{pre}.json", result)
        print("small", pre, len(result["ids"]), "texts,", sum(map(len, result["ids"])), "tokens")

    from transformers import PreTrainedTokenizerFast
    llama = PreTrainedTokenizerFast(tokenizer_object=small_tokenizer(vocabulary, "llama-bpe"), bos_token="<|begin_of_text|>")
    llama.chat_template = LLAMA3_TEMPLATE
    write(folder, "chat.json", [chat_goldens(name, tokenizer) for name, tokenizer in
                                [("qwen2", models["qwen2"]), ("smollm", models["smollm"]), ("llama3", llama)]])


if __name__ == "__main__":
    sys.exit(main())

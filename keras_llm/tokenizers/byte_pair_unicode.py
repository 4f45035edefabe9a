"""The classes of characters that splitting rules of tokenizers ask for.

A frozen table: what the `tokenizers` package sees (0.23; Unicode 16 in its
regular expressions, 17 in its `Digits` and 8 in its `Punctuation`), so that
ids do not change with the Unicode version of a Python. Knows nothing of
TensorFlow.
"""

import re

import numpy as np

LETTER = 1  # \p{L}
NUMBER = 2  # \p{N}
SPACE = 4  # \s
NUMERIC = 8  # what the `Digits` pre-tokenizer takes for a digit
PUNCTUATION = 16  # what the `Punctuation` pre-tokenizer splits off

PAGE = 256

# Lengths of ranges in hexadecimal, each followed by its class: g is none, and
# the n-th letter after g is class n.
_RANGES = (
    "9g5k12g1kfwaq7w1ah6w1ah4w6g1k1ag1k1w5g1w2g1h1w6g2q1g1h2w1g1q1h1w3q1w17h1g1"
    "fh1g1cah4gcheg5h7g1h1g1h81g5h1g2h2g4h1w1h6g1h1w3h1g1h1g14h1g53h1g8bh8ga6h1"
    "g26h2g1h6w29h2w33g1w1g1w2g1w2g1w9g1bh4g4h2w14g2w1g2wdg1w2g2w2bh15gaq4w2h1g"
    "63h1w1hfg2h7g2haq3h2g1hew2g1h1g1eh1dg59hbg1hegaq21h9g2h1g3w1h5g16h4g1h9g1h"
    "3g1h7gfw1g19h5g1w1gbh5g18h1g6h11g2ah3ag36h3g1h12g1h7gah2g2waq1w10h4g8h2g2h"
    "2g16h1g7h1g1h3g4h3g1h10g1hdg2h1g3h4gaq2h2g6q2g1h8g6h4g2h2g16h1g7h1g2h1g2h1"
    "g2h1fg4h1g1h7gaq2g3h10g9h1g3h1g16h1g7h1g2h1g5h3g1h12g1hfg2h4gaq1w8g1hbg8h2"
    "g2h2g16h1g7h1g2h1g5h3g1h1eg2h1g3h4gaq1g1h6qbg1h1g6h3g3h1g4h3g2h1g1h1g2h3g2"
    "h3g3h3gch16g1h15gdq12g8h1g3h1g17h1g10h3g1h1ag3h2g1h2g2h4gaq8g7q1g1h4g8h1g3"
    "h1g17h1gah1g5h3g1h1fg2h1g2h4gaq1g2h11g9h1g3h1g29h2g1h10g1h5g3h1g7q3h4g13q1"
    "g6h5g12h3g18h1g9h1g1h2g7h1fgaq4g1wcg30h1g2hcg7h8g1waq2w25g2h1g1h1g5h1g18h1"
    "g1h1gah1g2h9g1h2g5h1g1h9gaq2g4h20g1h3gfw1g1wbg14q6g4w2g8h1g24h18g1w2g5h43g"
    "5w4g2w25g2bh14g1haq6w6h4g4h3g1h3g2h7g3h4gdhcg1h1gaq6g26h1g1h5g1h2g2bh1w14d"
    "h1g4h2g7h1g1h1g4h2g29h1g4h2g21h1g4h2g7h1g1h1g4h2gfh1g39h1g4h2g43h5g9w14q3g"
    "10h10g56h2g6h2g1w26ch2w11h1k1ah2w3g4bh3w3q8h7g12hdg13h3g2w9g12hegdh1g3hfg3"
    "4h20g3w1h3w1g1h3gaq6gaq6gbw5gaq6g59h7g5h2g22h1g1h5g46hag1fh25g2waq1eh2g5hb"
    "g2ch4g1ah6gbq25g17h7g2w35h2bgaq6gaq6g7w1h6w57g2fh11g8h3gaq7w22g1ehdg2haq2c"
    "h16g4w24h17g5waq3g3haq24h2wbh5g2bh2g3h8wbg1w15g4h1g6h1g2h3g1h5gc0h40g116h2"
    "g6h2g26h2g6h2g8h1g1h1g1h1g1h1g1fh2g35h1g7h1g1h3g3h1g7h3g4h2g6h4gdh5g3h1g7h"
    "3gbk5g18w2k5g1k14w1gdw1gcw1k10g1q1h2g6q3g2w1haq3g2w1gdh65g1h4g1h2gah1g1h3g"
    "5h6g1h1g1h1g1h1g4h1gbh2g4h5g5h4g1h1g33q2h5q17eg4w1dg2w135g3cq4eg16q268gew1"
    "eq31g2w1fgaw193g16w3fg4w20g2w202ge5h6g4h3g2h5g4w1q2w26h1g1h5g1h2g38h7g1h1w"
    "fg17h9g7h1g7h1g7h1g7h1g7h1g7h1g7h1g7h21g2fw1h13w1bdg1k3w1g2h1qaw2gcw1g9q6g"
    "1w5h2g3q2h1w3g56h6g3h1w5ah1w4h5g2bh1g5eh3g4qag20h30g10h20gaq1eg8q1gfq20gaq"
    "27gfq140g19c0h40g568dh43g2eh2w10dh3w10haq2h14g2fh4g1wag1w1fh2g46haq2g6w1fg"
    "9h2g67h2g43h2g2h1g1h1g8h15g10h1g3h1g4h1g17hdg6qag34h4wag32h1ag2waq18g6h3w1"
    "h1w2h1gaq1ch8g2w17h18g1w1dh7g2fhegdw1g1haq4g2w5h1gahaq5h1g29h17g3h1g8h4gaq"
    "2g4w17h3g1h3g32h1g1h3g2h2g5h2g1h1g1h18g3h2wbh5g2w3hcg6h2g6h2g6h9g7h1g7h1g2"
    "bh1geh6g73h8g1w4gaq6g2ba4hcg17h4g31h2104g16eh2g6ah26g7hcg5h5g1h1gah1gdh1g5"
    "h1g1h1g2h1g2h1g6ch21g16bh2w10g40h2g36h28gch14gaw16g23w1gew1g1w4g1w1g2w4g5h"
    "1g87h4g3w1g6w1g4waq2w3g2w1ah3w1g1w1g1ah1w1g1w1g7w59h3g6h2g6h2g6h2g3h23gch1"
    "g1ah1g13h1g2h1gfh2geh22g7bh5g3w4g2dqcg39q11g2qf4g1dh3g31h10g1bq4g20h4q9g14"
    "h1q8h1q5g26hag1eh1g1w24h4g8h1w5q2ag9eh2gaq6g24h4g24h4g28h8g34hbg1wbh1gfh1g"
    "7h1g2h1gbh1gfh1g7h1g2h3g34hcg137h9g16hag8h18g6h1g2ah1g9h45g6h2g1h1g2ch1g2h"
    "3g1h2g17h1g1w8q17h2g7q1fh8g9q30g13h1g2h5g5q16h6q3g1w1ah5g1w40g38h4g2q2h10q"
    "2g2eq1hfg4h1g3h1g1dhag9q7g9w7g1dh2q1w1dh3q20g8h1g1ch6g5q7w9g36h3g7w16h2g8q"
    "13h5g8q12h7g4wcg7q50g49h37g33hdg33h7g6q24hcgaq6gaq1ch9g17hdag1fq1g2ah6g2h1"
    "0g3h3bg1dhaq1h8g16hbg4q1bg12h2eg15h7q14g17hcg35hfg7w4g1eq1g2h2g1hdg2dhbg2w"
    "1g4weg19h7gaq9g24hfgaq4w1h2g1h8g23h1g2w1hcg30heg4h5w3g1w2gaq1h1w1h3w1g14qb"
    "g12h1g19hcg6w1g2h3fg7h1g1h1g4h1gfh1gah1w6g2fh11gaqbg8h2g2h2g16h1g7h1g2h1g5"
    "h3g1h12g1hcg5h1egah1g1h2g1h1g26h1g1h19g1h1g1h2cg35h12g4h5gaq5g3h1eg30h14g2"
    "h1w1h8gaqa6g2fh12g17w4h24g30h11g3w1hbgaq26g2bhdg1h7gaq6g14q1cg1bh15gcq3w1g"
    "7hb9g2ch74g40h13qcg8h2g1h2g8h1g2h1g18hfg1h1g1hegaq46g8h2g27h10g1h1g1h1cg1h"
    "ag28h7g1h15g1hbg2eh13g1h12g49hc7g21hfgaq6g9h1g25h11g1hfg1dq5g1eh70g7h1g2h1"
    "g26h15g1h9gaq6g6h1g2h1g20heg1h7gaq36gaof6g13hfg1h1gdh1g22h1cgaq56g1hfg15q2"
    "bg39ah66g6fq1g5wbgc4ha4cg61hfg430h11g6h19gf9bh5g247h1ab9g1eh12gaq6c6g239h7"
    "g1fh1gaq4g2w4fh1gaq6g1eh7g1wag30h7g5w4g4h1wbgaq1g7q1g15h5g13h1b0g2dh3gaqc6"
    "g40h17q69g4bh5g1h42gdh40g2h1g1h10g3o9g17f8h8g4d6h29gah22e7g4h1g7h1g2h1g123"
    "hfg1h1dg3h2g1heg4h8g18ch904g6bh5gdh3g9h7gah5g1w1050gaq5c6g14qcg14q6cg19q87"
    "g55h1g47h1g2h2g1h2g2h2g4h1gch1g1h1g7h1g41h1g4h2g8h1g7h1g1ch1g4h1g5h1g1h3g7"
    "h1g154h2g19h1g19h1g1fh1g19h1g1fh1g19h1g1fh1g19h1g1fh1g19h1g8h2g32q287g5w47"
    "4g1fh6g6h105g3eh92g2dhag7h2gaq4g1h141g1eh12g2ch4gaq1d6g1ch4gaqd6g1eh2g1haq"
    "1e5g7h1g4h1g2h1gfh1gc5h2g9q30g44h7g1h4gaq317g3bq1g3q1g4q4cg2dq1gfqc2g4h1g1"
    "bh1g2h1g1h2g1h1gah1g4h1g1h1g1h6g1h4g1h1g1h1g1h1g3h1g2h1g1h2g1h1g1h1g1h1g1h"
    "1g1h1g2h1g1h2g4h1g7h1g4h1g4h1g1h1gah1g11h5g3h1g5h1g11h244gdqae3gaq406ga6e0"
    "h20g103ah6gdeh2g1682heg1d31hfg26eh9a2g21eh5e2g134bh5g1060hddc50g"
)


def character_classes() -> np.ndarray:
    """uint8 `(0x110000,)`: the class of each code point, a sum of the bits."""
    ranges = re.findall("([0-9a-f]+)([g-z])", _RANGES)
    lengths = [int(length, 16) for length, _ in ranges]
    classes = [ord(letter) - ord("g") for _, letter in ranges]
    return np.repeat(np.array(classes, np.uint8), lengths)


def pages_of(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A table of all code points as distinct pages, which are few.

    Args:
        table: integers `(0x110000,)`.

    Returns:
        int32 `(0x1100,)`, the page of each 256 code points, and int32
        `(pages * 256,)`, the pages one after the other.
    """
    rows = table.astype(np.int32).reshape(-1, PAGE)
    pages = [row.tobytes() for row in rows]
    number = {page: i for i, page in enumerate(dict.fromkeys(pages))}
    index = np.array([number[page] for page in pages], np.int32)
    return index, np.frombuffer(b"".join(number), np.int32)

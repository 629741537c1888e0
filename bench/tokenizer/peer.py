"""The same text through the library `tokenizers`, one thread: peer.py TOKENIZER.JSON TEXT [MEGABYTES]"""
import os
import random
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

size = (int(sys.argv[3]) if len(sys.argv) > 3 else 50) * 1_000_000
with open(sys.argv[2], encoding="utf-8", newline="\n") as file:
    lines = [line.rstrip("\n") + "\n" for line in file if line.strip("\n")]
texts, count, order = [], 0, random.Random(1)
while count < size:
    order.shuffle(lines)
    for line in lines:
        if count >= size:
            break
        texts.append(line)
        count += len(line.encode())
tokenizer = Tokenizer.from_file(sys.argv[1])
for name in ("cold", "warm"):
    start = time.process_time()
    tokens = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    rate = count / 1e6 / (time.process_time() - start)
    print(f"{name} {rate:.3g} MB/s, {count} bytes, {tokens} tokens")

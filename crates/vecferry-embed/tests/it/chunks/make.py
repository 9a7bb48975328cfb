"""Makes *.json from *.txt with the splitter that Bedrock Chat v1.4.0 runs.

    pip install llama-index-core==0.10.68.post1 nltk==3.9.1
    python make.py

Each .json holds {"CHUNK/OVERLAP": [chunks]} of the .txt beside it; lengths are in characters. The call is that of the
application's worker, including its paragraph separator, which is a raw string: backslashes, not line feeds.
"""

import json
import pathlib

from llama_index.core.node_parser import SentenceSplitter

for path in sorted(pathlib.Path(__file__).parent.glob("*.txt")):
    text = path.read_bytes().decode()
    chunks = {}
    for size, overlap in [(1000, 200), (300, 60), (80, 20)]:
        splitter = SentenceSplitter(
            paragraph_separator=r"\n\n\n",
            chunk_size=size,
            chunk_overlap=overlap,
            tokenizer=lambda text: [0] * len(text),
        )
        chunks[f"{size}/{overlap}"] = splitter.split_text(text)
    path.with_suffix(".json").write_text(
        json.dumps(chunks, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )

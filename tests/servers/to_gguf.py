"""A small Llama in llama.cpp's file format, and its logits as llama.cpp computes them.

Runs in the environment of llama.cpp, as a program: `to_gguf.py write FOLDER FILE` or `to_gguf.py logits FILE TOKENS`,
where TOKENS is a list in JSON; the logits after the last of them are printed as one. Knows the one kind of model that
`small_model.py` makes: tied embeddings, as many key heads as heads, a byte-level tokenizer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np

Weights = dict[str, np.ndarray]

OUTSIDE = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}
INSIDE = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def read_weights(path: Path) -> Weights:
    """The arrays of a safetensors file in float32: the length of a header, the header in JSON, then the bytes."""
    raw = path.read_bytes()
    body = 8 + int.from_bytes(raw[:8], "little")
    found: Weights = {}
    for name, entry in json.loads(raw[8:body]).items():
        if name != "__metadata__":
            if entry["dtype"] != "F32":
                raise ValueError(f"{path}: {name} is {entry['dtype']}, not F32")
            begin, end = entry["data_offsets"]
            found[name] = np.frombuffer(raw[body + begin : body + end], np.float32).reshape(entry["shape"])
    return found


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Query or key rows in llama.cpp's order: it rotates neighbours, transformers the two halves of a head."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write(folder: Path, target: Path) -> None:
    """Write the model of `folder` to `target`, with its tokenizer and chat template."""
    shape = json.loads((folder / "config.json").read_text("utf-8"))
    writer = gguf.GGUFWriter(target, "llama")
    _add_shape(writer, shape)
    _add_tokenizer(writer, folder, shape)
    for name, weight in read_weights(folder / "model.safetensors").items():
        _add_weight(writer, name, weight, shape["num_attention_heads"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, shape: dict) -> None:
    writer.add_name("small")
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_rope_dimension_count(shape["hidden_size"] // shape["num_attention_heads"])
    writer.add_rope_freq_base(shape["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(shape["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, shape: dict) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(shape["eos_token_id"])
    writer.add_pad_token_id(shape["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text("utf-8"))


def _add_weight(writer: gguf.GGUFWriter, name: str, weight: np.ndarray, heads: int) -> None:
    if name in OUTSIDE:
        writer.add_tensor(f"{OUTSIDE[name]}.weight", weight)
        return
    _, _, layer, inner = name.removesuffix(".weight").split(".", 3)
    if inner in ("self_attn.q_proj", "self_attn.k_proj"):
        weight = interleaved(weight, heads)
    writer.add_tensor(f"blk.{layer}.{INSIDE[inner]}.weight", weight)


def logits(file: Path, tokens: list[int]) -> list[float]:
    """The logits after the last of `tokens` as llama.cpp computes them, its cache in float32."""
    from llama_cpp import Llama

    model = Llama(str(file), n_ctx=len(tokens), logits_all=True, type_k=0, type_v=0, verbose=False)
    model.eval(tokens)
    return model.scores[len(tokens) - 1].tolist()


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        print(json.dumps(logits(Path(sys.argv[2]), json.loads(sys.argv[3]))))  # noqa: T201

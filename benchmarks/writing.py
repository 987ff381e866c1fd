"""Seconds and memory that writing an edit takes on CPU, for `hrm-edit` in the size `small`, as it is and in eight bits.

    python -m benchmarks.writing DATASET --json

Tasks from all over the dataset are the prompts. How long it takes to write a token does not depend on what a model has
learnt, so its weights are drawn: it takes all of its segments, which is the most, and up to as many tokens as the
task's own response has. Each model has a process of its own, whose resident
memory at its peak is told, torch included; on as many threads as `--threads` says.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.anchors.results import machine
from flows.settings import default_cache_dir
from flows.task_trees import TaskTrees
from hrm.data.example import Example, make_example
from hrm.decoding.generate import Prompt, write
from hrm.decoding.grammar import Vocabulary
from hrm.evaluation.memory import peak_memory_bytes
from hrm.models.edit import HrmEdit
from hrm.models.int8 import to_int8
from hrm.models.presets import build
from hrm.tokenizer.encoding import Tokenizer
from hrm.train.config import preset
from task_registry import load_tasks

MODELS = ("small", "small int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--source", action="append", default=[], help="as `gymforge train` takes it")
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", choices=MODELS, help="this one alone, in this process")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.model:
        print(json.dumps(measure(options)))
        return
    command = [sys.executable, "-m", "benchmarks.writing", *sys.argv[1:]]
    load = round(os.getloadavg()[0], 2)
    models = {model: json.loads(subprocess.check_output([*command, "--model", model], text=True)) for model in MODELS}
    if options.json:
        print(json.dumps({"machine": machine(), "load": load, "threads": options.threads, "models": models}))
    else:
        for model, found in models.items():
            print(model, *(f"{name}: {value}" for name, value in found.items()), sep="\n  ")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    name, _, bits = str(options.model).partition(" ")
    config, tokenizer = preset(name), Tokenizer.bundled()
    model, vocabulary = build(config.model).eval(), Vocabulary(tokenizer)
    assert isinstance(model, HrmEdit)
    if bits:
        to_int8(model)
    seconds, prompts, written = [], [], []
    with TaskTrees(sources=options.source, cache_dir=default_cache_dir()) as trees:
        tasks = list(load_tasks(options.dataset))
        spread = tasks[:: max(1, len(tasks) // options.tasks)][: options.tasks]
        chosen = [(task, trees.files(task)) for task in spread]
    for task, files in chosen:
        example = make_example(task, files, tokenizer=tokenizer, layout=config.layout, rng=random.Random(0))
        if not isinstance(example, Example):
            continue
        size = example.prompt_tokens
        began = perf_counter()
        (response,) = write(
            model,
            vocabulary,
            Prompt(example.tokens[:size], example.windows, files),
            max_tokens=len(example.tokens) - size,
        )
        seconds.append(perf_counter() - began)
        prompts.append(size)
        written.append(len(response.tokens))
    assert seconds, "no task of the dataset is an example"
    return {
        "parameters": sum(one.numel() for one in model.parameters()),
        "edits": len(seconds),
        "tokens of a prompt, median": statistics.median(prompts),
        "tokens of a response, median": statistics.median(written),
        "seconds an edit, median": round(statistics.median(seconds), 2),
        "seconds an edit, slowest": round(max(seconds), 2),
        "tokens a second, prompts included": round(sum(written) / sum(seconds), 1),
        "peak memory, MiB": round(peak_memory_bytes() / 2**20),
    }


if __name__ == "__main__":
    main()

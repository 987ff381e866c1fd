"""`hrm-edit` and what it is compared with: who sees whom, what is differentiated, what halting saves, and sizes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.data.example import Window
from hrm.data.packing import Examples, lay_out
from hrm.decoding.generate import Prompt, segments_of, write
from hrm.decoding.grammar import Vocabulary
from hrm.models.config import HaltConfig, ModelConfig, ModelKind
from hrm.models.edit import Cells, HrmEdit, passages, prefix_mask, sight_of
from hrm.models.layers import Memory, attend_in
from hrm.models.presets import PRESETS, Variant, build, variant
from hrm.tokenizer.encoding import Tokenizer
from hrm.train.objective import to_batch

SMALL = ModelConfig(
    kind=ModelKind.EDIT,
    vocab_size=600,
    hidden_size=32,
    heads=2,
    high_layers=1,
    low_layers=2,
    halt=HaltConfig(max_segments=3),
)
EVERY = [variant(SMALL, which) for which in Variant]


def model_of(config: ModelConfig = SMALL, **changes: Any) -> HrmEdit:
    return build(ModelConfig.model_validate(config.model_dump() | changes), seed=1).eval()


def cells_of(tokens: list[int], *, prompt: int) -> Cells:
    """One document, alone in its row."""
    size = len(tokens)
    return Cells(
        torch.tensor([tokens]),
        torch.zeros(1, size, dtype=int),
        torch.arange(size)[None],
        torch.arange(size)[None] < prompt,
    )


def through(model: HrmEdit, cells: Cells, segments: int) -> Any:
    states = None
    for _ in range(segments):
        states = model(cells, states)
    return states


@pytest.mark.parametrize("config", EVERY, ids=list(Variant))
def test_a_response_is_seen_by_what_is_behind_it_alone_and_a_prompt_by_all(config: ModelConfig) -> None:
    model, tokens, prompt = model_of(config), list(range(10, 22)), 5
    segments = config.halt.max_segments
    before = through(model, cells_of(tokens, prompt=prompt), segments)
    for changed, sees in ((2, range(12)), (8, range(8, 12)), (5, range(5, 12))):
        other = [*tokens[:changed], 99, *tokens[changed + 1 :]]
        after = through(model, cells_of(other, prompt=prompt), segments)
        for one, two in zip(before, after, strict=True):
            differs = ((one - two).abs().amax(-1)[0] > 0).nonzero()[:, 0].tolist()
            assert differs == list(sees)


def test_documents_of_a_row_do_not_see_each_other() -> None:
    model = model_of()
    first, second = cells_of([9, 8, 7, 6, 5], prompt=3), cells_of([19, 18, 17], prompt=2)
    joined = Cells(*(torch.cat((one, two), dim=1) for one, two in zip(first, second, strict=True)))
    joined.documents[:, 5:] = 1
    alone = torch.cat([through(model, one, 2).low for one in (first, second)], dim=1)
    torch.testing.assert_close(through(model, joined, 2).low, alone)


@given(
    rows=st.lists(
        st.lists(
            st.integers(1, 9).flatmap(lambda prompt: st.tuples(st.just(prompt), st.integers(0, 9))),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=50)
def test_passage_by_passage_is_what_a_mask_over_whole_rows_gives(rows: list[list[tuple[int, int]]]) -> None:
    sizes = np.array([sum(one) for row in rows for one in row], dtype=np.int64)
    prompts = np.array([prompt for row in rows for prompt, _ in row], dtype=np.int64)
    tokens = (np.arange(sizes.sum()) % 500).astype(np.uint16)
    names, plans = np.arange(len(sizes)), np.zeros((len(sizes), 1), np.int32)
    places = iter(range(len(sizes)))
    length = max(sum(prompt + rest for prompt, rest in row) for row in rows)  # no cell is empty in one row at least
    packed = lay_out(
        [[next(places) for _ in row] for row in rows],
        Examples(tokens, sizes, prompts, prompts - 1, names, plans),
        length=length,
    )
    cells = to_batch(packed, torch.ones(600, dtype=int), torch.device("cpu")).cells
    heads = torch.randn(3, len(rows), 2, length, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    is_full = (cells.documents >= 0)[:, None, :, None]
    found = []
    for sight in (passages(cells), prefix_mask(cells)):
        query, key, value = heads
        if isinstance(sight, torch.Tensor):
            mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=sight)
        else:
            mixed = attend_in(sight, query, key, value)
        mixed = mixed * is_full
        found.append((mixed, *torch.autograd.grad(mixed.square().sum(), heads)))
    torch.testing.assert_close(*found)


def test_compiled_or_elsewhere_rows_have_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = cells_of([1, 2, 3], prompt=2)
    assert sight_of(cells) == [(3, 2)]
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    torch.testing.assert_close(sight_of(cells), prefix_mask(cells))


@pytest.mark.parametrize("room", [2, 128])
@pytest.mark.parametrize("config", EVERY, ids=list(Variant))
def test_token_by_token_it_computes_what_it_computes_at_once(
    config: ModelConfig, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrm.models.layers._ROOM", room)
    model, tokens, prompt = model_of(config), list(range(10, 22)), 5
    segments = config.halt.max_segments
    at_once = through(model, cells_of(tokens, prompt=prompt), segments).low
    memories, states = [Memory() for _ in range(segments)], None
    with torch.no_grad():
        for memory in memories:
            states = model.read(cells_of(tokens[:prompt], prompt=prompt), memory=memory, states=states)
        torch.testing.assert_close(states.low, at_once[:, :prompt], rtol=1e-4, atol=1e-4)
        for position in range(prompt, len(tokens)):
            low = model.write(torch.tensor([[tokens[position]]]), position=position, memories=memories)
            torch.testing.assert_close(low, at_once[:, position : position + 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("window", "high", "low"), [(1, 0, 1), (2, 0, 2), (3, 1, 2), (4, 1, 3), (6, 2, 4), (None, 2, 4)]
)
def test_so_many_updates_are_differentiated(window: int | None, high: int, low: int) -> None:
    model = model_of(gradient_window=window)
    seen = {"high": 0, "low": 0}
    for name, module in (("high", model.high), ("low", model.low)):

        def count(_module: Any, _given: Any, result: Any, name: str = name) -> None:
            seen[name] += result.requires_grad

        module.register_forward_hook(count)
    model(cells_of([4, 5, 6, 7], prompt=2))
    assert seen == {"high": high, "low": low}


def test_computing_activations_anew_gives_the_same_gradients() -> None:
    found = []
    for saves in (False, True):
        model = model_of()
        model.saves_memory = saves
        model(cells_of([4, 5, 6, 7], prompt=2)).low.square().mean().backward()
        found.append([parameter.grad for parameter in model.low.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


LINES = ("a = 1\n", "b = 2\n")
VOCABULARY = Vocabulary(Tokenizer.bundled(vocab_size=600))
TO_WRITE = Prompt(np.arange(300, 312, dtype=np.uint32), (Window("s.py", 1, LINES),), {"s.py": "".join(LINES)})


@pytest.mark.parametrize(("bias", "segments"), [(9.0, 1), (-9.0, 3)])
def test_a_segment_that_is_not_worth_it_is_not_computed(bias: float, segments: int) -> None:
    model = model_of()
    torch.nn.init.constant_(model.halt_head.bias, bias)
    calls = []
    model.low.register_forward_hook(lambda *_: calls.append(1))
    assert segments_of(model, TO_WRITE.tokens) == segments
    assert len(calls) == segments * SMALL.high_cycles * SMALL.low_cycles
    calls.clear()
    (written,) = write(model, VOCABULARY, TO_WRITE, max_tokens=20)
    assert written.segments == segments
    assert len(calls) == len(written.tokens) * segments * SMALL.high_cycles * SMALL.low_cycles


def test_what_is_written_ends_and_has_the_probabilities_that_the_model_gives_it() -> None:
    model = model_of()
    generator = torch.Generator().manual_seed(3)
    responses = write(model, VOCABULARY, TO_WRITE, max_tokens=24, count=4, temperature=1.0, generator=generator)
    assert len({one.tokens for one in responses}) > 1
    for one in responses:
        assert one.edits
        whole = [*TO_WRITE.tokens.tolist(), *one.tokens]
        low = through(model, cells_of(whole, prompt=len(TO_WRITE.tokens)), one.segments).low
        logits = model.logits(low[0, len(TO_WRITE.tokens) - 1 : -1])
        allowed = torch.from_numpy(np.unpackbits(one.allowed, axis=1, count=600).astype(bool))
        chances = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
        chosen = chances.gather(1, torch.tensor(one.tokens)[:, None])[:, 0]
        torch.testing.assert_close(chosen, torch.tensor(one.log_probabilities), rtol=1e-4, atol=1e-4)


def test_without_a_temperature_the_likeliest_is_written_each_time() -> None:
    first, second = (write(model_of(), VOCABULARY, TO_WRITE, max_tokens=24)[0].tokens for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("preset", "which", "parameters"),
    [
        ("tiny", Variant.ITSELF, 2_120_960),
        ("tiny", Variant.NO_HIGH, 2_120_960),
        ("tiny", Variant.SAME_PARAMETERS, 2_120_960),
        ("tiny", Variant.SAME_COMPUTE, 4_906_240),
        ("small", Variant.ITSELF, 27_368_441),
        ("base", Variant.ITSELF, 98_802_433),
    ],
)
def test_presets_have_so_many_parameters(
    preset: str, which: Variant, parameters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrm.models.edit.initialize", lambda _, generator: None)  # there is nothing to fill on `meta`
    with torch.device("meta"):
        model = HrmEdit(variant(PRESETS[preset], which))
    assert sum(one.numel() for one in model.parameters()) == parameters


@pytest.mark.parametrize("preset", PRESETS)
def test_a_transformer_is_matched_by_layers_or_by_layers_passed(preset: str) -> None:
    config = PRESETS[preset]
    layers = config.high_layers + config.low_layers
    assert variant(config, Variant.SAME_PARAMETERS).low_layers == layers
    passed = config.high_cycles * (config.high_layers + config.low_cycles * config.low_layers)
    assert variant(config, Variant.SAME_COMPUTE).low_layers == passed * config.halt.max_segments
    ablation = variant(config, Variant.NO_HIGH)
    assert ablation.low_layers * ablation.high_cycles * ablation.low_cycles == passed


@pytest.mark.slow
@pytest.mark.parametrize("config", EVERY, ids=list(Variant))
def test_it_compiles_as_one_graph(config: ModelConfig) -> None:
    model, cells = model_of(config), cells_of(list(range(10, 22)), prompt=5)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(cells).low, model(cells).low, rtol=1e-4, atol=1e-4)

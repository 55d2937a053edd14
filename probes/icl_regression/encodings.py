"""Where XᵀY and the weights of least squares can be read: position probes of every block and prefix, on several arms.

An arm is what the probes are trained on: the learner's states, those of a learner trained with one weight vector, those
of the same architecture with random weights, the raw inputs, and the learner's states with another prompt's targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from workbench.probe.position_probe import Head, Training
from workbench.probe.prefix_probes import PrefixProbes
from workbench.probe.selectivity import Split, control_targets, split_examples
from workbench.records.results import variable

from .asking import ROWS, Task
from .behaviour import BLOCKS, PREFIX, drawn
from .config import IclRegressionConfig
from .predictors import ols, prefix_moments
from .prompts import Prompts, tokens

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.probe.contract import RunContext
    from workbench.progress import Reporter

LEARNER, CONTROL, RANDOM, RAW, TASK = "learner", "control learner", "random weights", "raw inputs", "control task"
TARGETS = {"moment": "XᵀY of the prefix", "weights": "weights of least squares, of least norm"}
HEADS: tuple[Head, ...] = ("linear", "mlp")
RATES: dict[Head, float] = {"linear": 1e-2, "mlp": 3e-3}
"""Learning rates, chosen on validation prompts of one learner."""


def prefixes_of(task: Task, config: IclRegressionConfig) -> list[int]:
    """Prefixes, in pairs, after which probes look."""
    return sorted(set(config.prefixes)) if config.prefixes is not None else list(range(1, task.length))


def targets_of(prompts: Prompts, prefixes: list[int]) -> dict[str, np.ndarray]:
    """Each quantity of each prefix, `[example, prefix, d]`."""
    _, moment = prefix_moments(prompts.x, prompts.y)
    weights = ols().weights
    assert weights is not None
    return {"moment": moment[:, prefixes].numpy(), "weights": weights(prompts.x, prompts.y)[:, prefixes].numpy()}


def states_of(session: Session, prompts: Prompts, pairs: int, progress: Reporter, stage: str) -> Tensor:
    """The stream after the read-in and each block, at the first pairs' tokens: `[block, example, position, width]`."""
    sites = ["resid_pre.0", *(f"resid_post.{layer}" for layer in range(session.shape.layers))]
    values = tokens(prompts.x, prompts.y)[:, : 2 * pairs]
    parts = []
    for at in progress.steps(range(0, len(values), ROWS), stage):
        seen = session.capture(values[at : at + ROWS], sites)
        parts.append(torch.stack([seen[site].float() for site in sites]))
    return torch.cat(parts, 1)


def encodings(
    session: Session, control: Session | None, task: Task, config: IclRegressionConfig, context: RunContext
) -> xr.Dataset:
    """Held-out squared errors of all probes, what always giving the mean would have, and where probes read."""
    prefixes = prefixes_of(task, config)
    prompts = drawn(config.n_probe, task, context.rng("prompts of probes"))
    split = split_examples(config.n_probe, context.rng("split of probes"))
    wanted = targets_of(prompts, prefixes)
    pairs = max(prefixes)
    arms: dict[str, Tensor] = {
        LEARNER: states_of(session, prompts, pairs, context.progress, "states of the learner"),
        RANDOM: states_of(random_weights(session), prompts, pairs, context.progress, "states of random weights"),
        RAW: tokens(prompts.x, prompts.y)[None, :, : 2 * pairs],
    }
    if control is not None:
        arms[CONTROL] = states_of(control, prompts, pairs, context.progress, "states of the control learner")
    arms[TASK] = arms[LEARNER]
    found: dict[tuple[str, str, str], PrefixProbes] = {}
    errors: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
    scale: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    parts = {"validation": split.validation, "test": split.test}
    for target, values in wanted.items():
        other = values[control_targets(np.arange(len(values)), context.rng(f"control task {target}"))]
        for arm, states in arms.items():
            goal = other if arm == TASK else values
            scale[target, arm] = {part: _scale(goal, split, rows) for part, rows in parts.items()}
            for head in HEADS:
                name = f"{head} probes of {TARGETS[target].split(' of ')[0]}, {arm}"
                probes = _fit(states, goal, split, prefixes, head, config, context, name)
                found[target, arm, head] = probes
                errors[target, arm, head] = {
                    part: _errors(probes, states, goal, split, rows) for part, rows in parts.items()
                }
    return _dataset(found, errors, scale, list(arms), prefixes, session.shape.layers + 1, split)


def random_weights(session: Session) -> Session:
    """A model of the same configuration with fresh weights, the same at every call."""
    from workbench.internals.session import Session as Opened
    from workbench.models.load import wrap_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        fresh = type(session.model)(session.model.config).eval()
    return Opened(wrap_model(fresh.to(session.model.device)))


def _fit(
    states: Tensor,
    goal: np.ndarray,
    split: Split,
    prefixes: list[int],
    head: Head,
    config: IclRegressionConfig,
    context: RunContext,
    name: str,
) -> PrefixProbes:
    how = Training(config.hidden, config.probe_steps, 256, RATES[head])
    return PrefixProbes.fit(
        states[:, torch.from_numpy(split.train)],
        goal[split.train],
        [2 * n for n in prefixes],
        (states[:, torch.from_numpy(split.validation)], goal[split.validation]),
        context.rng("position probes"),
        head,
        how,
        context.progress,
        name,
    )


def _errors(probes: PrefixProbes, states: Tensor, goal: np.ndarray, split: Split, part: np.ndarray) -> np.ndarray:
    """Squared errors in units of the training targets' variance, `[block, prefix, example]`."""
    said = probes.predict(states[:, torch.from_numpy(part)]).numpy()
    spread = goal[split.train].std(0)
    return np.square((said - goal[part].transpose(1, 0, 2)) / np.where(spread > 0, spread, 1.0)[:, None]).sum(-1)


def _scale(goal: np.ndarray, split: Split, part: np.ndarray) -> np.ndarray:
    """The same of always giving the training mean, `[prefix, example]`."""
    spread, mean = goal[split.train].std(0), goal[split.train].mean(0)
    return np.square((goal[part] - mean) / np.where(spread > 0, spread, 1.0)).sum(-1).T


def _dataset(
    found: Mapping[tuple[str, str, str], PrefixProbes],
    errors: Mapping[tuple[str, str, str], Mapping[str, np.ndarray]],
    scale: Mapping[tuple[str, str], Mapping[str, np.ndarray]],
    arms: list[str],
    prefixes: list[int],
    blocks: int,
    split: Split,
) -> xr.Dataset:
    import xarray as xr

    def padded(part: str) -> np.ndarray:
        made = np.full((len(TARGETS), len(arms), len(HEADS), blocks, len(prefixes), len(getattr(split, part))), np.nan)
        for (target, arm, head), each in errors.items():
            seen = each[part][:blocks]
            made[list(TARGETS).index(target), arms.index(arm), HEADS.index(head), : len(seen)] = seen
        return made.astype(np.float32)

    def of_learner(value: Any, heads: tuple[str, ...]) -> np.ndarray:
        return np.stack([[value(found[target, LEARNER, head]) for head in heads] for target in TARGETS])

    dims = ("target", "arm", "head_kind", "blocks", "prefix")
    units = "variance"
    variables = {
        "directions": variable(
            ("target", "blocks", "prefix", "feature", "output"),
            of_learner(lambda each: each.directions().numpy(), ("linear",))[:, 0],
            "1",
            "what moves each output of the learner's linear probe",
        ),
        "attention": variable(
            ("target", "head_kind", "blocks", "prefix", "position"),
            of_learner(lambda each: each.attention.numpy(), HEADS),
            "share",
            "how much a probe on the learner reads a position",
        ),
    }
    for part, name in (("test", "example"), ("validation", "validation_example")):
        variables[f"{part}_error"] = variable((*dims, name), padded(part), units, f"squared error on {part} prompts")
        variables[f"{part}_scale"] = variable(
            ("target", "arm", "prefix", name),
            np.stack([[scale[target, arm][part] for arm in arms] for target in TARGETS]).astype(np.float32),
            units,
            "the same of always giving the mean",
        )
    outputs = list(range(found["weights", LEARNER, "linear"].target_mean.shape[-1]))
    said = "; ".join(f"{name}: {text}" for name, text in TARGETS.items())
    return xr.Dataset(
        variables,
        coords={
            "target": ("target", list(TARGETS), {"description": said}),
            "arm": ("arm", arms, {"description": "what probes were trained on"}),
            "head_kind": ("head_kind", list(HEADS), {"description": "kind of probe: linear, or of two layers"}),
            "blocks": ("blocks", list(range(blocks)), {"description": BLOCKS}),
            "prefix": ("prefix", prefixes, {"description": PREFIX}),
            "output": ("output", outputs, {"description": "dimension of x"}),
            "validation_example": (
                "validation_example", np.arange(len(split.validation)), {"description": "a prompt for choices"}
            ),
            "example": np.arange(len(split.test)),
            "position": np.arange(2 * max(prefixes)),
            "feature": np.arange(found["weights", LEARNER, "linear"].mean.shape[-1]),
        },
    )  # fmt: skip

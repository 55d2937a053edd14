"""Learners: what they are trained on, a training that goes on to the same weights, and those that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import workbench as wb
from workbench.errors import Cancelled, UsageError
from workbench.probes.icl_regression import shipped
from workbench.probes.icl_regression.asking import Task
from workbench.probes.icl_regression.learner import RECIPE, LearnerConfig, error, training_prompts, transformer
from workbench.progress import Progress
from workbench.runs.train import train


def test_training_prompts_are_what_the_labels_say() -> None:
    def prompts(labels: str):
        return training_prompts(LearnerConfig(rows=200, labels=labels), np.random.default_rng(0))

    own, fixed, shuffled = (prompts(each) for each in ("own", "fixed", "shuffled"))
    torch.testing.assert_close(own.y, torch.einsum("pnd,pd->pn", own.x, own.w))
    torch.testing.assert_close(fixed.y, fixed.x.sum(-1))
    said = torch.einsum("pnd,pd->pn", shuffled.x, shuffled.w)
    assert abs(float(torch.corrcoef(torch.stack([said.flatten(), shuffled.y.flatten()]))[0, 1])) < 0.1
    assert torch.equal(shuffled.y.flatten().sort().values, own.y.flatten().sort().values)


def test_a_training_that_was_stopped_ends_at_the_same_weights(tmp_path: Path) -> None:
    train(RECIPE, tmp_path / "whole", "smoke", given={"steps": 4})

    def stop(event: Progress) -> None:
        if event.stage.startswith("training") and event.done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train(RECIPE, tmp_path / "parts", "smoke", given={"steps": 4}, progress=stop)
    record = train(RECIPE, tmp_path / "parts", resume=True)
    assert record["status"] == "success" and len(record["results"]["losses"]) == 4
    weights = [wb.load(tmp_path / name).model.state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(each, weights[1][name]) for name, each in weights[0].items())
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {
        "config.json", "model.safetensors", "planted.json", "record.json"
    }  # fmt: skip


def test_a_learner_keeps_the_task_it_was_trained_on(tmp_path: Path) -> None:
    train(RECIPE, tmp_path / "made", "smoke", given={"noise": 0.5, "spread": 0.75})
    assert wb.load(tmp_path / "made").model.config.task == {"noise": 0.5, "spread": 0.75}


def test_a_width_that_heads_do_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises((UsageError, ValidationError), match="multiple of heads"):
        train(RECIPE, tmp_path / "made", "smoke", given={"width": 10, "heads": 4})


def test_shipped_learners_err_less_than_fresh_ones_and_less_the_deeper() -> None:
    prompts = training_prompts(LearnerConfig(rows=256), np.random.default_rng(9))
    torch.manual_seed(0)
    models = [transformer(LearnerConfig()).eval(), *(wb.load(f"organism/icl-depth{each}").model for each in (1, 2, 4))]
    with torch.no_grad():
        fresh, *errors = (float(error(each, prompts)) for each in models)
    assert fresh > errors[0] > 1.5 * errors[1] > 1.5 * errors[2]


def test_others_of_one_task_are_found_by_what_they_were_trained_on() -> None:
    session = wb.load("organism/icl-depth2")
    names = [each.name for each in shipped.beside(session, Task(12, 4, 0.0, 1.0))]
    assert names == ["icl-depth1", "icl-depth4"]
    assert [each.name for each in shipped.beside(session, Task(12, 4, 0.5, 1.0))] == ["icl-noise-half"]
    assert shipped.beside(session, Task(12, 8, 0.0, 1.0)) == shipped.beside(session, Task(13, 4, 0.0, 1.0)) == []

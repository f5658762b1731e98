"""Checkpoints are whole or absent."""

from pathlib import Path

import pytest
import torch

from realfill.errors import UserError
from realfill.training.checkpoints import (
    TENSORS_FILE,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)


def save(folder: Path, step: int, limit: int | None = None) -> Path:
    tensors = {"unet.weight": torch.full((4,), float(step))}
    save_checkpoint(
        folder, step, tensors, {"note": "x"}, lambda path: (path / "result").touch(), limit
    )
    return folder / f"checkpoint-{step}"


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    folder = save(tmp_path, 7)
    assert find_checkpoint(tmp_path, "latest") == folder
    state, tensors = load_checkpoint(folder)
    assert (state["step"], state["note"]) == (7, "x")
    assert tensors["unet.weight"].tolist() == [7.0] * 4
    assert (folder / "result").exists()


def test_the_newest_by_number_is_the_latest_and_the_oldest_go(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        save(tmp_path, step, limit=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-100", "checkpoint-10"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "state"])
def test_a_damaged_newest_is_passed_over_with_a_line(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    tensors = bad / TENSORS_FILE
    content = bytearray(tensors.read_bytes())
    if damage == "truncated":
        tensors.write_bytes(content[:-3])
    elif damage == "flipped":
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "missing":
        tensors.unlink()
    else:
        (bad / "state.json").write_text("{")
    assert find_checkpoint(tmp_path, "latest") == good
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "checkpoint-2: passed over" in said
    with pytest.raises(UserError, match="checkpoint-2"):
        find_checkpoint(tmp_path, str(bad))
    save(tmp_path, 2)
    assert find_checkpoint(tmp_path, "latest") == bad


def test_no_checkpoint(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path, "latest") is None
    with pytest.raises(UserError, match="no such checkpoint"):
        find_checkpoint(tmp_path, "checkpoint-5")


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def break_off(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, 3, {}, {}, break_off, None)
    assert list(tmp_path.iterdir()) == []


def test_an_optimizer_s_state_survives_to_the_last_bit() -> None:
    def make() -> tuple[torch.optim.Optimizer, torch.nn.Parameter]:
        parameter = torch.nn.Parameter(torch.arange(5.0))
        return torch.optim.AdamW([parameter], lr=0.1), parameter

    def step(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> None:
        (parameter**3).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    first, weights = make()
    step(first, weights)
    second, copied = make()
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(first).items()}
    restore_optimizer(second, saved)
    copied.data.copy_(weights.data)
    step(first, weights)
    step(second, copied)
    assert torch.equal(weights, copied)

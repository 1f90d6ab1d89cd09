"""The examples in docs/: they are parsed, and their commands are run, as two small parts that are then merged."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.printed import unfolded

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where ``patchify-verify`` is the real command, but a run is a small one."""
    command = tmp_path / "bin" / "patchify-verify"
    command.parent.mkdir()
    small = "--cases 60 --only homogeneous --strength 0"
    command.write_text(
        f"""#!/usr/bin/env bash
        case "$*" in *--profile*) small="{small}" ;; esac
        exec {sys.executable} -c 'import sys; from properties.command.main import main; sys.exit(main())' "$@" $small
        """
    )
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "IMPLEMENTATION": "patchify:Patchify",
        "SEED": "7",
        "PARTS": "2",
    }


def shell(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    """What a command prints."""
    done = subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_merged(printed: str) -> None:
    # Of the sixty cases the law judges those that it applies to.
    verdict = r"PASSED: patchify:Patchify: 1 of 1 properties held in 5\d checks on 60 cases \(run seed 7\)"
    assert re.fullmatch(verdict, unfolded(printed)[-1])


def steps(job: Mapping[str, Any]) -> dict[str, Any]:
    return {step["name"]: step for step in job["steps"] if "name" in step}


def test_github_actions(tmp_path: Path, environment: dict[str, str]) -> None:
    workflow = yaml.safe_load((DOCS / "github-actions.yml").read_text())
    jobs = workflow["jobs"]
    assert jobs["part"]["strategy"]["matrix"]["part"] == list(range(1, workflow["env"]["PARTS"] + 1))
    assert [jobs[name].get("needs") for name in ("seed", "part", "report")] == [None, "seed", "part"]
    run = steps(jobs["part"])["run"]
    assert run["env"] == {"SEED": "${{ needs.seed.outputs.seed }}", "PART": "${{ matrix.part }}"}
    installs = {
        step["run"] for name in ("part", "report") for step in jobs[name]["steps"] if "pip" in step.get("run", "")
    }
    assert installs == {'pip install "$HARNESS" --editable .'}
    draw = jobs["seed"]["steps"][0]["run"]
    shell(draw, tmp_path, {**environment, "GITHUB_OUTPUT": str(tmp_path / "output")})
    assert re.fullmatch(r"seed=\d+\n", (tmp_path / "output").read_text())
    for part in ("1", "2"):
        shell(run["run"], tmp_path, {**environment, "PART": part})
    assert_merged(shell(steps(jobs["report"])["merge"]["run"], tmp_path, environment))
    assert (tmp_path / "report" / "report.json").exists()


def test_slurm(tmp_path: Path, environment: dict[str, str]) -> None:
    script = (DOCS / "slurm.sh").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script, flags=re.MULTILINE))
    assert options["array"] == "1-8"
    assert "cpus-per-task" in options
    # Options come before the first command, or Slurm does not see them.
    assert script.rindex("#SBATCH") < script.index("set -e")
    slurm = {**environment, "SLURM_CPUS_PER_TASK": "1", "SLURM_ARRAY_TASK_COUNT": "2"}
    # The second task is queued again, as after a preemption.
    for task in ("1", "2", "2"):
        shell(str(DOCS / "slurm.sh"), tmp_path, {**slurm, "SLURM_ARRAY_TASK_ID": task})
    assert not (tmp_path / "queued").exists()
    # One whose budget ends before it is done queues itself again.
    queue = tmp_path / "bin" / "scontrol"
    queue.write_text(f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/queued\n')
    queue.chmod(0o755)
    hurried = {**slurm, "SEED": "8", "BUDGET": "0.001", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "1"}
    # By then it has checked nothing, which is no success.
    shell(f"! {DOCS / 'slurm.sh'}", tmp_path, hurried)
    assert (tmp_path / "queued").read_text() == "requeue 5_1\n"
    (merge,) = re.findall(r"^#   (patchify-verify merge .*?) +# ", script, flags=re.MULTILINE)
    assert_merged(shell(merge, tmp_path, environment))


def test_kubernetes(tmp_path: Path, environment: dict[str, str]) -> None:
    text = (DOCS / "kubernetes.yml").read_text()
    claim, job = (yaml.safe_load(each) for each in ((DOCS / "kubernetes-volume.yml").read_text(), text))
    # It may be created again.
    assert job["metadata"] == {"generateName": "patchify-"}
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    given = {member["name"]: member.get("value") or member["valueFrom"] for member in container["env"]}
    assert given.pop("JOBS") == {"resourceFieldRef": {"resource": "requests.cpu"}}
    assert "cpu" in container["resources"]["requests"]
    assert (job["kind"], spec["completionMode"]) == ("Job", "Indexed")
    assert spec["completions"] == int(given["PARTS"])
    (volume,) = spec["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [given["RUNS"]]
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["containerName"]) == ("FailIndex", container["name"])
    assert container["command"] == ["bash", "-euc"]
    # The second pod is evicted, and started again.
    for index in ("0", "1", "1"):
        pod = {**given, **environment, "RUNS": str(tmp_path / "runs"), "JOBS": "1", "JOB_COMPLETION_INDEX": index}
        shell(container["args"][0], tmp_path, pod)
    (merge,) = re.findall(r"^#   (patchify-verify merge .*?) +# ", text, flags=re.MULTILINE)
    assert_merged(shell(merge.replace("/runs/", f"{tmp_path}/runs/"), tmp_path, environment))

"""deploy/ for several machines: what is named there exists, and what is typed there is taken."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from pixtag.cli.main import VERBS
from pixtag.cli.parser import build_app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = sorted(DEPLOY.glob("compose*.yaml"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
COMMAND = re.compile(r"(?:^|[# ]|-- )(pixtag (?:embed|train|evaluate) .+)$", re.MULTILINE)
RAY_IMAGE = re.compile(r"^FROM docker\.io/rayproject/ray:(\d+\.\d+\.\d+)-py3\d+$", re.MULTILINE)


def parsed(words: list[str]) -> None:
    """Have the real command line read a command, without running it."""
    assert words[0] == "pixtag"
    verb = words[1]
    assert verb in VERBS, words
    build_app([verb]).parse_args(words[1:], exit_on_error=False, print_error=False)


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_starts_what_there_is(path: Path) -> None:
    (found,) = documents(path)
    services = found["services"]
    entry = re.search(r"^ENTRYPOINT (.+)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    assert entry
    ours = {name: one for name, one in services.items() if one["image"] == "pixtag"}
    assert len(ours) >= 2
    for one in ours.values():
        assert (path.parent / one["build"]["context"] / one["build"]["dockerfile"]).exists()
        words = one.get("entrypoint") or json.loads(entry[1])
        parsed([*words, *one["command"]])
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
    for one in services.values():
        assert set(one) <= {
            "build", "cap_drop", "command", "depends_on", "entrypoint", "environment",
            "healthcheck", "image", "ports", "profiles", "read_only", "restart", "security_opt",
            "volumes",
        }  # fmt: skip
        assert {volume.partition(":")[0] for volume in one.get("volumes", ())} <= {
            *found["volumes"]
        }
        assert set(one.get("depends_on", ())) <= set(services)
    web = services["web"]["command"]
    asked = [web[i + 1].partition(":")[0] for i, word in enumerate(web) if word == "--to"]
    assert set(asked) <= set(ours)
    assert refused_by_docker(path) == ""


def refused_by_docker(path: Path) -> str:
    """What `docker compose` has against a file, where that is installed."""
    docker = shutil.which("docker") or "docker"
    try:
        subprocess.run([docker, "compose", "version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    env = {"PIXTAG_PASSWORD": "p", "PATH": str(Path(docker).parent)}
    command = [docker, "compose", "-f", path, "config", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env).stderr


def test_commands_of_the_page_and_of_comments_are_taken() -> None:
    texts = [(ROOT / "docs" / "deploy.md").read_text()]
    texts += [path.read_text() for path in DEPLOY.iterdir()]
    found = [
        shlex.split(command)
        for text in texts
        for command in re.findall(
            r"(?:^|[# ]|-- )(pixtag (?:embed|train|evaluate) .+)$", text, re.M
        )
    ]
    assert {words[1] for words in found} == {"embed", "train"}
    for words in found:
        parsed(words)


def test_the_image_of_a_node_is_made_from_what_there_is() -> None:
    text = (DEPLOY / "Containerfile.ray").read_text()
    base = RAY_IMAGE.search(text)
    assert base
    for copied in re.findall(r"^COPY --chown=ray (.+) \S+$", text, re.MULTILINE):
        for name in copied.split():
            assert (ROOT / name).exists(), name
    extras = re.search(r"/tmp/src\[([\w,]+)\]", text)
    assert extras
    assert set(extras[1].split(",")) <= set(EXTRAS)
    (least,) = re.findall(r"ray>=([\d.]+)", " ".join(EXTRAS["ray"]))
    assert tuple(map(int, base[1].split("."))) >= tuple(map(int, least.split(".")))


def require_ray() -> None:
    if find_spec("ray") is None:
        pytest.skip("needs the extra `ray`")


def taken_by_ray_start() -> set[str]:
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run([ray, "start", "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"^\s+(--[a-z-]+)", done.stdout, re.MULTILINE))


def test_ray_takes_the_file_of_the_cluster() -> None:
    require_ray()
    from ray.autoscaler._private.util import prepare_config, validate_config

    (found,) = documents(DEPLOY / "ray-cluster.yaml")
    ready = prepare_config(found)
    validate_config(ready)
    (node,) = ready["available_node_types"].values()
    assert node["min_workers"] == node["max_workers"] == len(found["provider"]["worker_ips"])
    taken = taken_by_ray_start()
    starts = found["head_start_ray_commands"] + found["worker_start_ray_commands"]
    assert sum(" start " in command for command in starts) == 2
    for command in starts:
        assert set(re.findall(r"--[a-z-]+", command)) <= taken
    asked = re.findall(r"ray==([\d.]+)", " ".join(found["setup_commands"]))
    image = RAY_IMAGE.search((DEPLOY / "Containerfile.ray").read_text())
    assert image
    assert asked == [image[1]]
    extras = re.findall(r"/pixtag-clone\[([\w,]+)\]", " ".join(found["setup_commands"]))
    assert extras == ["ray,train"]
    assert {"ray", "train"} <= {*metadata("pixtag").get_all("Provides-Extra", [])}
    assert "~/pixtag-clone" in found["file_mounts"], "the clone goes to every node"


def test_kuberay_starts_what_there_is() -> None:
    require_ray()
    cluster, service = documents(DEPLOY / "kuberay.yaml")
    assert (cluster["kind"], service["kind"]) == ("RayCluster", "RayService")
    image = RAY_IMAGE.search((DEPLOY / "Containerfile.ray").read_text())
    assert image
    taken = taken_by_ray_start()
    for one, spec in (
        (cluster, cluster["spec"]), (service, service["spec"]["rayClusterConfig"]),
    ):  # fmt: skip
        assert one["apiVersion"] == "ray.io/v1"
        assert spec["rayVersion"] == image[1]
        assert spec["authOptions"] == {"mode": "token"}
        groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
        for group in groups:
            assert {f"--{name}" for name in group["rayStartParams"]} <= taken
            (container,) = group["template"]["spec"]["containers"]
            assert container["image"] == "registry.example/pixtag-ray"
        for group in groups[1:]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydantic, at Ray Serve's import
def test_ray_serve_takes_the_application() -> None:
    require_ray()
    from ray.serve.schema import ServeDeploySchema

    from pixtag.on_ray import ServeConfig

    service = documents(DEPLOY / "kuberay.yaml")[1]
    deployed = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    (application,) = deployed.applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(import_module(module), name))
    asked = ServeConfig.model_validate(application.args)
    (workers,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert asked.n_replicas <= workers["replicas"] * int(
        workers["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    )

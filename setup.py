"""Maps the top-level folders into the one namespace `workbench`; all else about the build is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

ROOTS = {
    "workbench": "workbench",
    "workbench.probes": "probes",
    "workbench.kernels": "kernels",
    "workbench.dashboards": "dashboards",
    "workbench.data": "data",
}

setup(
    package_dir=ROOTS,
    packages=[
        name if folder is None else f"{name}.{folder}"
        for name, root in ROOTS.items()
        for folder in [None, *find_namespace_packages(root, exclude=["__pycache__", "*.__pycache__"])]
    ],
)

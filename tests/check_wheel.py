"""Build the source distribution, the wheel from it, and import the wheel outside the checkout."""

import subprocess
import sys
import tempfile
from pathlib import Path

# What the bare install is for: none of it may load TensorFlow.
PRODUCERS_SIDE = ("topicserve.producer", "topicserve.wire", "topicserve.backends", "topicserve.cli")


def main() -> None:
    """Fail loudly if what a user would install does not import, or pulls TensorFlow in."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, str(root)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        # The wheel goes first on the path, so the editable install cannot stand in for it.
        modules = [
            ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            for path in sorted((root / "topicserve").rglob("*.py"))
            if path.name != "__main__.py"  # these run
        ]
        bare = [name for name in modules if name.startswith(PRODUCERS_SIDE)]
        code = (
            f"import sys; sys.path.insert(0, {str(wheel)!r})\n"
            f"import topicserve, {', '.join(bare)}\n"
            "assert '.whl' in topicserve.__file__, topicserve.__file__\n"
            "assert 'tensorflow' not in sys.modules\n"
            f"import {', '.join(modules)}\n"
        )
        subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=folder)
        print(f"{wheel.name} imports outside the checkout")


if __name__ == "__main__":
    main()

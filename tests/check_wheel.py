"""Build the source distribution, the wheel from it, and import the wheel outside the checkout."""

import subprocess
import sys
import tempfile
from pathlib import Path


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
        code = (
            f"import sys; sys.path.insert(0, {str(wheel)!r})\n"
            f"import {', '.join(modules)}\n"
            "assert '.whl' in topicserve.__file__, topicserve.__file__\n"
            "assert 'tensorflow' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=folder)
        print(f"{wheel.name} imports outside the checkout")


if __name__ == "__main__":
    main()

import re
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.servables.core import put_version

PAGE = (Path(__file__).parents[2] / "docs/servables.md").read_text()


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    """As it stands there, but for where the versions lie."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    put_version(tmp_path, 3, "7,seven\n")
    names: dict[str, Any] = {"keys": np.array([b"7"], object)}

    exec(example.replace("/models/names", str(tmp_path)), names)

    assert names["version"] == 3
    assert names["outputs"]["value"].tolist() == [b"seven"]

"""Write the clients in Python and TypeScript, from the API's own OpenAPI document.

    python libs/tenantry_client/generator/generate.py            write them
    python libs/tenantry_client/generator/generate.py --check    exit with 1 if a file would change

It needs the API's code to be importable, as in the environment of ./check.
"""

import sys
from pathlib import Path

import javascript_writing
import openapi_reading
import python_writing
from tenantry.api.app import create_app
from tenantry.base.settings import Settings

_LIBRARY = Path(__file__).parents[1]


def main() -> int:
    document = openapi_reading.read(create_app(Settings(home=Path("/nowhere"))).openapi())
    python, javascript = _LIBRARY / "src" / "tenantry_client", _LIBRARY / "javascript"
    wanted = {
        python / "models.py": python_writing.models(document),
        python / "operations.py": python_writing.operations(document, is_async=False),
        python / "async_operations.py": python_writing.operations(document, is_async=True),
        javascript / "operations.js": javascript_writing.operations(document),
        javascript / "operations.d.ts": javascript_writing.declarations(document),
    }
    changed = {
        path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text
    }
    if "--check" in sys.argv[1:]:
        for path in changed:
            print(f"{path.relative_to(_LIBRARY)} is not what the API's document gives.")
        return 1 if changed else 0
    for path, text in changed.items():
        path.write_text(text)
        print(f"wrote {path.relative_to(_LIBRARY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

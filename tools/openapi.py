"""Write docs/openapi.json: the API as it is served."""

from __future__ import annotations

import json
from pathlib import Path

from pixtag.store import Store
from pixtag.web.app import create_app
from pixtag.web.service import Service

OUT = Path(__file__).parent.parent / "docs" / "openapi.json"


def main() -> None:
    with Service(Store.in_memory()) as service:
        document = create_app(service).openapi()
    OUT.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    main()
